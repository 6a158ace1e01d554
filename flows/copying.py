"""The copy that a restore makes: chosen, brought, recovered where nobody can reach it, proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any, cast

from flows.points import Point, choose_point, moment_on_its_way, reachable, sites_to_read
from flows.predicting import foresee_times
from flows.proving import prove_restored
from flows.ways import close_ways, open_ways
from recoverd.backup.chains import Chain, follow
from recoverd.backup.manifest import Manifest
from recoverd.backup.target import Kind, parse_target
from recoverd.errors import Look, Refused, Unsafe
from recoverd.world import world
from tasks.archived import Archive, await_wal, survey_wal
from tasks.asking import ask_scratch
from tasks.receiving import receiving_site
from tasks.replaying import begin_reading, fetch_wal, finish_reading, wal_bytes, wal_files
from tasks.restoring import (
    begin_unpacking,
    fetch_parts,
    finish_unpacking,
    observe_room,
    replaces,
    take_up,
    work_dir,
)
from tasks.scratch import hold_wal, recover, see_it_run
from tasks.sets import Survey, survey_sites
from tasks.together import together
from tasks.views import Facts, lsn_to_int, lsn_to_text

LAST_RECORD_BYTES = 1 << 20
"""The end of WAL that was received may stand in the middle of a record; no common record is longer than that."""

_HEARTBEAT = "select extract(epoch from at) from recoverd.heartbeat where service = '{0}'"


@dataclass(frozen=True)
class Chosen:
    """What is restored, what was seen of it, and which sites may be read from."""

    point: Point
    manifest: Manifest
    archive: Archive
    chain: Chain | None
    may_read: tuple[str, ...]


class Copy(Facts):
    """Restored data, recovered and proven.

    Attributes:
        set: What it was put together from.
        target: What was asked for.
        reached: The position up to which WAL was replayed.
        reached_at: When the last transaction in it was committed, by the clock of the server that it was committed on; None
            where the set's own WAL had none.
        heartbeat_at: When recoverd last wrote its row there; None where it has none.
        at_end: The WAL knew nothing after the target, so that its end is the target.
        proof: What was proven.
        note: What a person should know besides.
    """

    set: str
    target: str
    reached: str
    timeline: int
    reached_at: datetime | None = None
    heartbeat_at: datetime | None = None
    at_end: bool = False
    proof: str = ""
    note: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        at = f", its last commit of {self.reached_at:%Y-%m-%d %H:%M:%S.%f} UTC" if self.reached_at else ""
        beat = f", recoverd's own row of {self.heartbeat_at:%H:%M:%S} UTC" if self.heartbeat_at else ""
        words = f"{self.set} was recovered to {self.target} ({self.reached}{at}{beat}) and proven: {self.proof}"
        return f"{words}; {self.note}" if self.note else words


def choose(service: str, host: str) -> Chosen:
    """Look at all sites, and choose set, WAL and sites; refused before anything is changed.

    Raises:
        Unsafe: The target cannot be reached from what the sites hold.
        Refused: There is no room.
    """
    options = world().run.options
    seen, archive = _survey(service, host)
    if moment := moment_on_its_way(str(options.get("to") or ""), archive, datetime.now(timezone.utc)):
        archive = await_wal(service, host, moment)
    named = tuple(name for name in str(options.get("site") or "").split(",") if name)
    if world().dry_run:
        _show(seen, archive, named)
    point = choose_point(
        service, seen, str(options.get("set") or ""), named, str(options.get("to") or ""),
        str(options.get("timeline") or ""), archive,
    )  # fmt: skip
    if point.refusal:
        raise Unsafe(
            f"{service} is not restored: {point.refusal}",
            f"see what each site holds: `recoverd sites verify {service}`",
        )
    manifest = manifest_of(seen, point)
    chain = _chain(manifest, archive, point, sites_to_read(seen, named))
    foresee_times(service, manifest, chain.end_at if chain else None)
    room = observe_room(service, host, manifest, wal_bytes(chain) if chain else 0)
    if not room.enough:
        raise Refused(f"there is no room: {room.summary}", "free space there, or name another host: --host …")
    return Chosen(point, manifest, archive, chain, sites_to_read(seen, named))


def _survey(service: str, host: str) -> tuple[Survey, Archive]:
    """Sets and WAL on all sites, looked at together."""
    looks: dict[str, Callable[[], Survey | Archive]] = {
        "sets": partial(survey_sites, service),
        "wal": partial(survey_wal, service, host),
    }
    found = together(looks, at_most=1 if world().dry_run else 2)  # a plan is read in this order
    return cast("Survey", found["sets"]), cast("Archive", found["wal"])


def _show(seen: Survey, archive: Archive, sites: tuple[str, ...]) -> None:
    """For a plan: what each site holds and in what health, and what can be restored to."""
    here = world()
    for site in seen.sites:
        held = [f"{one.set} {one.health.value}" for one in site.sets] or ["no set"]
        here.foresee(
            "observe", f"site {site.site}", f"what {site.site} holds", ", ".join(held) if site.reached else site.problem
        )
    for line in reachable(seen, archive.shelf, sites):
        here.foresee("observe", "reachable", "what can be restored to", line)


def _chain(manifest: Manifest, archive: Archive, point: Point, sites: tuple[str, ...]) -> Chain | None:
    """The WAL that was chosen, as the sites have it now: more may have come since, which is not wanted."""
    if not point.end_lsn:
        return None
    chain = follow(manifest, archive.shelf, int(point.timeline), sites, unsigned=bool(point.unsigned))
    if point.end_lsn > chain.end_lsn:
        raise Unsafe(
            f"WAL up to {lsn_to_text(point.end_lsn)} was chosen, and by now the sites have it only up to "
            f"{lsn_to_text(chain.end_lsn)}: {chain.hole}",
            "see which site is away: `recoverd sites`; then resume the run",
        )
    return chain.ending_at(point.end_lsn)


def make_copy(service: str, host: str, chosen: Chosen) -> Copy:
    """Fetch, unpack, recover and prove, in a place where nobody else is.

    Raises:
        Unsafe: Recovery ended early, or what came of it is not as it should be.
    """
    point, manifest = chosen.point, chosen.manifest
    bring(service, host, chosen)
    recovered = recover(service, host, point.target, point.timeline)
    if world().dry_run:
        return Copy(set=point.set, target=point.target, reached="", timeline=0)
    see_it_run(service, host)
    if replaces() and (slot := slot_of_wal(service)):
        hold_wal(service, host, slot)
    copy = _copy_of(point, recovered.effect.data)
    _refuse_an_early_end(service, host, chosen, copy)
    proof = prove_restored(service, host, manifest)
    if proof.failed:
        raise Unsafe(
            f"the restored data of {service} is not as it should be: {proof.summary}",
            f"it stands on {host}; its log is {work_dir(service)}/server/log",
        )
    return copy.model_copy(update={"proof": proof.summary, "heartbeat_at": _heartbeat(service, host)})


def slot_of_wal(service: str) -> str:
    """The slot that keeps WAL until it is on a site; empty where none comes continuously."""
    try:
        receiving_site(service)
    except Refused:
        return ""
    return world().inventory.backup_of(service).wal.slot


def bring(service: str, host: str, chosen: Chosen) -> None:
    """Fetch from several sites at once, and unpack beside it; likewise the WAL that leads to the target."""
    point, manifest, chain, shelf = chosen.point, chosen.manifest, chosen.chain, chosen.archive.shelf
    with_wal = (site for one in (chain.files if chain else ()) for site in one.sites if site in chosen.may_read)
    sites = open_ways(service, host, dict.fromkeys((*point.sites, *with_wal)))
    begin_unpacking(service, host, len(manifest.parts))
    take_up(service, host, len(manifest.parts))
    fetch_parts(service, host, manifest, [site for site in point.sites if site in sites])
    if chain is None and replaces():  # its new timeline must be none that there was before: the histories tell
        chain = Chain(manifest.timeline, manifest.segment_bytes, manifest.end_lsn, manifest.ended_at)
    if chain is not None:
        files = len(wal_files(chain, shelf, sites))
        begin_reading(service, host, files, chain, shelf, sites)
        fetch_wal(service, host, files, chain, shelf, sites)
        finish_reading(service, host, files, chain, shelf, sites)
    close_ways(service, host, sites)  # while the last of it is unpacked
    finish_unpacking(service, host, len(manifest.parts))


def _copy_of(point: Point, facts: Mapping[str, Any]) -> Copy:
    kind = parse_target(point.target).kind if point.target != Kind.SET.value else Kind.SET
    at_end = kind in {Kind.TIME, Kind.LSN} and not facts.get("stopped")
    notes = []
    if at_end:
        notes.append(
            "the WAL has no commit after that, as far as the clocks of servers agree, so that its end is the target"
        )
    if point.unsigned:
        notes.append(f"nobody has signed for its last WAL ({', '.join(point.unsigned)})")
    last = str(facts.get("last_commit") or "")
    return Copy(
        set=point.set, target=point.target, reached=str(facts["reached"]), timeline=int(facts["timeline"]),
        reached_at=datetime.fromtimestamp(float(last), timezone.utc) if last else None, at_end=at_end,
        note="; ".join(notes),
    )  # fmt: skip


def _refuse_an_early_end(service: str, host: str, chosen: Chosen, copy: Copy) -> None:
    """PostgreSQL ends without a word where it finds no more WAL; so the end is held against what is known to be there."""
    reached = lsn_to_int(copy.reached) or 0
    wanted, what = chosen.manifest.end_lsn, "the set is whole"
    if chosen.chain is not None and (copy.at_end or copy.target == Kind.LATEST.value):
        wanted, what = chosen.point.end_lsn - LAST_RECORD_BYTES, "the end of the WAL that is there"
        wanted = max(wanted, chosen.manifest.end_lsn)
    if reached < wanted:
        raise Look(
            f"the recovery of {copy.set} ended at {copy.reached}, before {what} ({lsn_to_text(wanted)}): WAL is damaged there",
            f"see {work_dir(service)}/server/log on {host}; restore to a moment before that, or from another site: --site …",
        )


def _heartbeat(service: str, host: str) -> datetime | None:
    """When recoverd last wrote its row into what was restored."""
    try:
        answer = ask_scratch(
            service,
            host,
            world().inventory.service(service).postgresql.database,
            _HEARTBEAT.format(service.replace("'", "''")),
        )
        return datetime.fromtimestamp(float(answer), timezone.utc)
    except (Look, ValueError):  # it never wrote one there
        return None


def manifest_of(seen: Survey, point: Point) -> Manifest:
    """The manifest of the chosen set. Raises Unsafe when no site gives it any more."""
    for manifest in seen.manifests:
        if manifest.set == point.set:
            return manifest
    raise Unsafe(f"no site gives the manifest of {point.set} any more", "see `recoverd sites`; then start it again")
