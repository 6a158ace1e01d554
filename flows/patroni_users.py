"""What recoverd does around Patroni: the old primary is held down, users are led to the new leader, and it is proven."""

from __future__ import annotations

from flows.accounting import account
from flows.ending import Ending, check_end, prove_entry_points
from flows.fence import fence_primary, note_summary
from flows.verdict import Diagnosis
from recoverd.errors import RecoverdError, Stale
from recoverd.world import world
from tasks.fencing import devices_of, power_off
from tasks.observation import observe_service
from tasks.patroni import waiting_time_s
from tasks.patroni_standing import Standing, await_standbys, observe_standing
from tasks.patroni_views import PatroniView
from tasks.proof import WriteProof
from tasks.traffic import DRIVERS, lead_users_to


def account_for(service: str, diagnosis: Diagnosis, new: str, seen: PatroniView) -> str:
    """Serve users after a failover, and account for it."""
    proofs = lead_users(service, diagnosis.primary, new, seen)
    if world().dry_run:
        return note(f"would have Patroni move {service} from {diagnosis.primary} to {new}")
    ending = end_at(service, new, seen, without=diagnosis.primary)
    found = account(service, diagnosis, new, proofs, ending)
    if found.loss.known or diagnosis.primary in ending.streaming:
        return found.summary
    old = diagnosis.primary
    return note(f"{found.summary}; Patroni may rewind {old} when it returns: copy its pg_wal before, if that matters")


def lead_users(service: str, old: str, new: str, seen: PatroniView) -> tuple[WriteProof, ...]:
    """Take the ways in from the old primary, give them to the new one, and prove a write through each."""
    _hold_down(service, old, observe_standing(service, old, seen.ttl_s))
    lead_users_to(world().inventory.service(service), new)
    return prove_entry_points(service, new)


def end_at(service: str, new: str, seen: PatroniView, without: str = "") -> Ending:
    """Wait until Patroni has led the standbys to the new leader, and see that it alone takes writes.

    Args:
        service: The service.
        new: The new leader.
        seen: What Patroni said before.
        without: An old primary that failed: whether it comes back is not waited for.
    """
    others = tuple(host for host in world().inventory.service(service).hosts if host not in {new, without})
    await_standbys(service, others, waiting_time_s(seen) / 2)
    return check_end(service, new, others)


def note(summary: str) -> str:
    """Keep one sentence of result with the run, and give it back."""
    note_summary(summary)
    return summary


def _hold_down(service: str, old: str, standing: Standing) -> None:
    """Take the addresses from the old primary; fence one that writes on, and cut off one that may still hold them.

    A host that comes back from behind a broken switch would otherwise answer for an address that has moved.
    """
    here = world()
    wanted = here.inventory.service(service)
    if standing.writing:
        fence_primary(service, old, observe_service(service))
    moved = [entry for entry in wanted.entry_points if entry.kind == "virtual-address"]
    if standing.reached:
        for entry in moved:
            DRIVERS[entry.kind].lead_away(wanted, entry, old)
        return
    for device in devices_of(wanted, old) if moved else ():
        try:
            power_off(service, old, device)
        except Stale:
            raise
        except RecoverdError as error:
            here.say(f"{old} was not cut off by {device}: {error.message}")
        else:
            return
