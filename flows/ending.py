"""How a procedure that moved a primary ends: with checks from the users' side."""

from __future__ import annotations

from recoverd.errors import Unproven
from recoverd.step import observe
from recoverd.world import world
from tasks.hosts import is_address_of
from tasks.observation import look
from tasks.proof import WriteProof, prove_write, where_from
from tasks.views import Answer, Facts


class Ending(Facts):
    """What is true at the end.

    Attributes:
        writable: Servers that take writes; exactly one.
        streaming: Standbys that stream from it.
        missing: Standbys that should and do not, with the reason.
        not_asked: Members that could not be asked, and were fenced or are down.
    """

    writable: tuple[str, ...]
    streaming: tuple[str, ...]
    missing: tuple[str, ...]
    not_asked: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = [f"only {', '.join(self.writable)} takes writes"]
        words.append(f"streaming: {', '.join(self.streaming) or 'none'}")
        words += list(self.missing)
        if self.not_asked:
            words.append(f"down: {', '.join(self.not_asked)}")
        return "; ".join(words)


def prove_entry_points(service: str, primary: str) -> tuple[WriteProof, ...]:
    """Prove a write through every entry point, from where users are. Nothing to prove in a dry run."""
    here = world()
    wanted = here.inventory.service(service)
    if here.dry_run:
        through = ", ".join(entry.name for entry in wanted.entry_points) or "no entry point: the inventory gives none"
        here.foresee(
            "observe", "prove_write", f"prove a write from {where_from(wanted)}", f"would write through {through}"
        )
        return ()
    address = here.inventory.host(primary).address
    proofs = tuple(prove_write(service, entry.name, where_from(wanted)) for entry in wanted.entry_points)
    for proof in proofs:
        if not is_address_of(proof.server, primary) and proof.entry not in _moving(service):
            raise Unproven(
                f"{proof.entry} led to {proof.server}, not to the new primary {primary} ({address})",
                "see where the entry point leads, and who takes writes, with `recoverd check`",
            )
    return proofs


def _moving(service: str) -> set[str]:
    """Entry points behind whose own address the server is seen."""
    return {entry.name for entry in world().inventory.service(service).entry_points if entry.kind == "virtual-address"}


@observe("check that only {primary} takes writes and the standbys stream")
def check_end(service: str, primary: str, standbys: tuple[str, ...]) -> Ending:
    """Look at every server once more.

    Raises:
        Unproven: Not exactly one server takes writes.
    """
    view = look(service)
    if view.primaries != (primary,):
        raise Unproven(
            f"{', '.join(view.primaries) or 'no server'} takes writes, and it should be {primary} alone",
            "stop what should not write at once; `recoverd check` shows every server",
        )
    streaming, missing, not_asked = [], [], []
    for server in view.servers:
        if server.host == primary:
            continue
        if server.answer is Answer.YES and server.receiver is not None and server.receiver.status == "streaming":
            streaming.append(server.host)
        elif server.host in standbys:
            missing.append(f"{server.host} does not stream")
        else:
            not_asked.append(server.host)
    return Ending(
        writable=view.primaries, streaming=tuple(streaming), missing=tuple(missing), not_asked=tuple(not_asked)
    )
