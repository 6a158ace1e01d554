"""What a member needs to become a standby again: a pure function over what was found on it."""

from __future__ import annotations

from enum import Enum

from recoverd.inventory import Service
from recoverd.step import decide
from tasks.salvage import Loss, WalFacts
from tasks.views import Answer, Facts, ServiceView


class Need(str, Enum):
    """From the least to the most."""

    START = "start"  # it has nothing of its own: it only follows again
    REWIND = "rewind"  # it has WAL of its own, and can tell which pages that touched
    COPY = "copy"  # it has to be copied anew


class Way(Facts):
    """How a member comes back, why so, and what only it had."""

    host: str
    need: Need
    reason: str
    loss: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.host}: {self.need.value}, for {self.reason}"


@decide("decide how {host} comes back")
def choose_way(host: str, facts: WalFacts, loss: Loss, system_identifier: str) -> Way:
    """Choose; the answer is kept when the run is resumed, also over a rewind that did not come to its end."""
    return way_back(host, facts, loss, system_identifier).model_copy(update={"loss": loss.summary})


def way_back(host: str, facts: WalFacts, loss: Loss, system_identifier: str) -> Way:
    """The gentlest way that cannot lose what has not been saved: a copy leaves the old data directory beside it."""
    if not facts.data_dir:
        return Way(host=host, need=Need.COPY, reason="it has no data directory")
    if facts.unfit:
        return Way(host=host, need=Need.COPY, reason="an earlier pg_rewind did not come to its end")
    if facts.system_identifier != system_identifier:
        return Way(
            host=host,
            need=Need.COPY,
            reason=f"its data is of another cluster ({facts.system_identifier or 'unreadable'})",
        )
    if not loss.known:
        return Way(host=host, need=Need.COPY, reason=f"it is not known what it had not sent ({loss.reason})")
    if not loss.pieces:
        return Way(host=host, need=Need.START, reason="it has no WAL that the primary does not have")
    if not facts.rewindable:
        return Way(
            host=host, need=Need.COPY, reason="it has neither checksums nor wal_log_hints, so it cannot be rewound"
        )
    return Way(host=host, need=Need.REWIND, reason=f"it has {loss.bytes} bytes of WAL of its own")


class Members(Facts):
    """Who rejoins, and whom they follow."""

    primary: str
    hosts: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{', '.join(self.hosts) or 'nobody'} needs to follow {self.primary or 'anybody'}"


@decide("choose who rejoins {service_name}")
def choose_members(service_name: str, only: str, view: ServiceView, service: Service) -> Members:
    """Choose; the answer is kept, for a member that streams again may still lack the last steps of its run."""
    primary = the_primary(view)
    return Members(primary=primary, hosts=who_returns(view, service, primary, only) if primary else ())


def who_returns(view: ServiceView, service: Service, primary: str, only: str = "") -> tuple[str, ...]:
    """The members that are no streaming standbys of the primary, or the one that is named."""
    if only:
        return (service.member(only).host,)
    return tuple(host for host in service.hosts if host != primary and not streams(view, host, primary))


def streams(view: ServiceView, host: str, primary: str) -> bool:
    """Whether a standby streams from that primary, on its timeline."""
    server, lead = view.server(host), view.server(primary)
    return (
        server.answer is Answer.YES
        and server.in_recovery
        and server.receiver is not None
        and server.receiver.status == "streaming"
        and server.receiver.sender_host in {primary, view.addresses.get(primary)}
        and server.timeline == lead.timeline
    )


def runs_as_standby(view: ServiceView, host: str) -> bool:
    """Whether it answers as a standby, so that it may only have to be told whom to follow."""
    return view.server(host).answer is Answer.YES and view.server(host).in_recovery


def the_primary(view: ServiceView) -> str:
    """The one server that takes writes on the newest timeline; empty when there is none, or more than one."""
    writers = sorted(view.primaries, key=lambda host: view.server(host).timeline, reverse=True)
    newest = [host for host in writers if view.server(host).timeline == view.server(writers[0]).timeline]
    return newest[0] if len(newest) == 1 else ""
