"""Where restored data takes the place of a service's data, and who is stopped before. Pure."""

from __future__ import annotations

from recoverd.inventory import Service
from recoverd.step import decide
from tasks.views import Answer, Facts, HostView, ServiceView


class Seat(Facts):
    """The host on which the restored data will serve.

    Attributes:
        host: Empty where there is none.
        primaries: Who took writes when this was chosen: one as a rule, several where this replaces one of them.
        refusal: Why nothing is replaced.
    """

    host: str
    primaries: tuple[str, ...] = ()
    reason: str = ""
    refusal: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.refusal:
            return f"nothing is replaced: {self.refusal}"
        writes = "take writes now" if len(self.primaries) > 1 else "takes writes now"
        return f"{self.host}, {self.reason}; {' and '.join(self.primaries) or 'nobody'} {writes}"

    @property
    def spoken_of(self) -> tuple[str, ...]:
        """Whose data a person, or a policy, has agreed to take out of service."""
        return (self.host, *self.primaries)


@decide("choose where the data of {service_name} is replaced")
def choose_seat(service_name: str, wanted: str, view: ServiceView, service: Service) -> Seat:
    """The answer is kept when the run is resumed."""
    return pick_seat(view, service, wanted)


def pick_seat(view: ServiceView, service: Service, wanted: str = "") -> Seat:
    """The host that is named; else that of the one primary; else of the server that was the primary last."""
    if view.patroni:
        return Seat(host="", refusal="Patroni manages it, and would start, stop and promote servers meanwhile")
    primaries = view.primaries
    if wanted:
        host, reason = service.member(wanted).host, "as it was asked for"
    elif len(primaries) > 1:
        return Seat(
            host="", refusal=f"{' and '.join(primaries)} take writes: name the one that is replaced with --host"
        )
    elif primaries:
        host, reason = primaries[0], "where the primary is"
    else:
        host, reason = _last(view), "where the primary was last"
    if not host:
        return Seat(host="", refusal="no member's host can be reached over SSH")
    if view.host(host).answer is not Answer.YES:
        return Seat(host="", refusal=f"{host} cannot be reached over SSH: {view.host(host).problem}")
    return Seat(host=host, primaries=primaries, reason=reason)


def _last(view: ServiceView) -> str:
    """A server that is no standby, on the newest timeline; else any host that answers."""
    there = [host for host in view.hosts if host.answer is Answer.YES]

    def worth(host: HostView) -> tuple[bool, int]:
        return host.startable and not host.standby_signal, host.timeline

    return max(there, key=worth).host if there else ""


def order_to_stop(view: ServiceView, seat: Seat) -> tuple[str, ...]:
    """Every member with a server: first those that may need a person or a device, the primary before its standbys.

    So nobody waits for a person while the service is stopped already; and standbys get what the primary still sends. Where the
    data is gone on the host that gets the restored data, there is nothing to stop, and nothing that could come back.
    """
    with_server = [
        host.host for host in view.hosts if not host.bare and not (host.host == seat.host and _is_lost(host))
    ]
    away = [host for host in with_server if view.host(host).answer is not Answer.YES]
    writers = [host for host in with_server if host in view.primaries and host not in away]
    return tuple(dict.fromkeys((*away, *writers, *with_server)))


def _is_lost(host: HostView) -> bool:
    """No data and no process of a server on a host that answers; it may still hold the service's address."""
    there = host.running or host.processes or host.startable or host.held
    return host.answer is Answer.YES and not there
