"""What follows once restored data is in its place: start, users, proof, standbys, account."""

from __future__ import annotations

from flows.copying import Copy
from flows.ending import check_end, prove_entry_points
from flows.fence import note_summary
from flows.lone_writer import refuse_another_writer
from flows.rejoin import rebuild
from flows.replaced import account
from flows.returning import Need
from flows.seat import Seat
from recoverd.errors import RecoverdError, Stale
from recoverd.world import world
from tasks.observation import observe_service
from tasks.postgres import view_server
from tasks.proof import WriteProof
from tasks.replacing import start_restored
from tasks.replication import needed_synchronous, relax_synchronous, restore_synchronous
from tasks.scratch import sweep
from tasks.slots import drop_slot, look_at_members
from tasks.traffic import lead_users_to
from tasks.views import Answer


def serve_restored(service: str, seat: Seat, copy: Copy) -> str:
    """Start what was restored, lead users there, prove it, and bring the standbys back."""
    here, host = world(), seat.host
    refuse_another_writer(service, host)
    start_restored(service, host)
    lead_users_to(here.service, host)
    others = [member for member in here.service.hosts if member != host]
    if here.dry_run:
        return _foretell(service, host, others, copy)
    _let_the_slot_be_bounded(service, host)
    waits, relaxed = _commits_wait(service, host)
    proofs: tuple[WriteProof, ...] = () if waits else prove_entry_points(service, host)
    missing = _copy_standbys(service, host, others)
    if waits:  # before a standby streams, nobody can write, and nothing can be proven
        proofs = prove_entry_points(service, host)
    ending = check_end(service, host, tuple(others))
    if relaxed and len(ending.streaming) >= needed_synchronous(relaxed):
        restore_synchronous(service, host, {"names": relaxed})
    sweep(service, host)
    found = account(service, seat, copy, proofs, ending, missing)
    note_summary(found.summary)
    return found.summary


def _foretell(service: str, host: str, others: list[str], copy: Copy) -> str:
    prove_entry_points(service, host)
    finding = f"would copy {host} to {', '.join(others) or 'nobody'}; their old data directories are kept"
    world().foresee("act", "standbys", "copy the standbys anew", finding)
    return f"would replace the data of {service} on {host} with {copy.set}"


def _commits_wait(service: str, host: str) -> tuple[bool, str]:
    """Whether commits wait for standbys, of which there is none yet; and what they would wait for, had they not been relaxed."""
    here = world()
    names = view_server(here.service, host, connect_timeout_s=here.policy.probe_timeout_s).synchronous_standby_names
    if needed_synchronous(names) and here.policy.relax_synchronous:
        relax_synchronous(service, host)
        names = ""
    meant = here.journal.intention(here.run.id, f"relax_synchronous({service},{host})") if here.journal else None
    relaxed = str((meant or {}).get("remembered", {}).get("names", ""))
    return bool(names) and not relaxed, relaxed


def _let_the_slot_be_bounded(service: str, host: str) -> None:
    """The slot that was made for the archive goes where nothing bounds it: it could fill the disk while nobody moves it."""
    try:
        for one in look_at_members(service):
            if one.host == host and one.has_slot and not one.bounded:
                drop_slot(service, host)
                world().say(f"{host} keeps no WAL for the sites: max_slot_wal_keep_size does not bound it")
    except RecoverdError as error:
        world().say(f"the slot of the continuous WAL on {host} was not looked at: {error.message}")


def _copy_standbys(service: str, primary: str, others: list[str]) -> tuple[str, ...]:
    """Copy each anew, beside what it has. One that cannot be does not undo what users have got back: it is reported."""
    missing = []
    view = observe_service(service)
    for host in others:
        if view.host(host).answer is not Answer.YES:
            missing.append(
                f"{host} is left as it is ({view.host(host).problem}): `recoverd run rejoin {service}` copies it anew"
            )
            continue
        try:
            rebuild(service, host, primary, Need.COPY)
        except Stale:
            raise
        except RecoverdError as error:
            world().say(f"{host} does not follow {primary}: {error.message}")
            missing.append(f"{host} does not follow: {error.message}")
    return tuple(missing)
