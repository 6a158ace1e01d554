"""How the continuous WAL of a service stands: how far behind each site is, what is missing on it, and what of that is news. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from recoverd.backup.archive import Entry, Index
from recoverd.backup.wal import SEGMENT, Segment, Switch, breaks
from tasks.views import Facts

MOST_SAMPLES = 2000


class SiteStanding(Facts):
    """The WAL on one site.

    Attributes:
        apart: It is in quarantine.
        newest: The newest segment, whole or growing.
        covered_lsn: All WAL before this position is there, but for the holes; 0 where there is none.
        behind_bytes: What the primary has written beyond that; None where it cannot be asked.
        behind_s: For how long the primary has had more than is there.
        holes: Stretches that are missing, as the first and the last segment of each.
    """

    site: str
    reached: bool
    apart: bool = False
    problem: str = ""
    newest: str = ""
    covered_lsn: int = 0
    segments: int = 0
    behind_bytes: int | None = None
    behind_s: float | None = None
    holes: tuple[str, ...] = ()
    forged: tuple[str, ...] = ()


class Standing(Facts):
    """The whole of it.

    Attributes:
        receiver: The site whose host receives.
        state: `receives`, `waits` (it runs, and does not get on), `down`, or `unknown`.
        problem: Why it does not receive.
        slots: What must be said of the slots.
    """

    service: str
    receiver: str
    state: str
    problem: str = ""
    primary: str = ""
    primary_lsn: int = 0
    sites: tuple[SiteStanding, ...] = ()
    slots: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line."""
        sites = ", ".join(f"{one.site} {'not reached' if not one.reached else _behind(one)}" for one in self.sites)
        return f"{self.state}{': ' + self.problem if self.problem else ''}; behind: {sites}"


def _behind(one: SiteStanding) -> str:
    lag = "?" if one.behind_s is None else f"{one.behind_s:.0f} s"
    return lag + (f" with {len(one.holes)} holes" if one.holes else "")


def site_standing(
    site: str,
    entries: Iterable[Entry],
    *,
    size: int,
    reaches: Mapping[str, int],
    samples: Sequence[tuple[float, int]],
    now: float,
    since_lsn: int = 0,
    guess: bool = False,
    histories: Mapping[int, Collection[Switch]] | None = None,
    ahead_of_notes: bool = False,
) -> SiteStanding:
    """How a site that is reached stands.

    Args:
        site: Its name.
        entries: The files that are on it.
        size: Bytes of a segment.
        reaches: How far a growing segment is known to go, by its file, where that is more than its name says.
        samples: When the primary's WAL ended where, the oldest first; times in seconds.
        now: The time of the last of them, or later.
        since_lsn: Holes before this position matter to nobody: a newer base backup needs nothing from there.
        guess: Nobody has looked before: what is missing may be as old as the newest that is there.
        histories: The ancestors of timelines, as far as they are known.
        ahead_of_notes: The growing segment was looked at after the whole ones were: what is between may be there.
    """
    here = [one for one in entries if SEGMENT.match(one.name)]
    whole = [one.name for one in here if not one.partial_end]
    newest = max(here, key=lambda one: (one.name, not one.partial_end), default=None)
    covered = max((_end(one, size, reaches) for one in here if newest and one.name[:8] == newest.name[:8]), default=0)
    ahead = [at for at, lsn in samples if lsn > covered]
    if guess and ahead and newest:
        ahead = [min(ahead[0], newest.last_at.timestamp())]
    there = whole if ahead_of_notes else [one.name for one in here]
    holes = [(first, last) for first, last in breaks(there, size, histories) if last.end_lsn > since_lsn]
    return SiteStanding(
        site=site, reached=True, newest=newest.name if newest else "", covered_lsn=covered, segments=len(whole),
        behind_bytes=max(0, samples[-1][1] - covered) if samples else None,
        behind_s=(max(0.0, now - ahead[0]) if ahead else 0.0) if samples else None,
        holes=tuple(f"{first.name}-{last.name}" if first != last else first.name for first, last in holes),
    )  # fmt: skip


def since(sets: Iterable[tuple[int, int]], live: int, histories: Mapping[int, Collection[Switch]]) -> int:
    """Where the recovery of the newest set begins that leads to the live timeline; 0 where none is known to.

    Args:
        sets: The timeline of each, and where its recovery begins.
        live: The timeline that the primary is on.
        histories: The ancestors of timelines, as far as they are known.
    """
    parted = {one.timeline: one.at_lsn for one in histories.get(live, ())}
    return max((lsn for timeline, lsn in sets if timeline == live or lsn < parted.get(timeline, 0)), default=0)


def _end(entry: Entry, size: int, reaches: Mapping[str, int]) -> int:
    if entry.partial_end:
        return max(entry.partial_end, reaches.get(entry.file, 0))
    return Segment.parse(entry.name, size).end_lsn


def troubles(standing: Standing, max_lag_s: float) -> dict[str, str]:
    """What is wrong, by a name that stays the same while it lasts."""
    found = {}
    if standing.state != "receives":
        found["receiver"] = standing.problem or f"the receiver is {standing.state}"
    for one in standing.sites:
        if not one.reached:
            found[f"site {one.site}"] = one.problem
        if one.apart and one.site == standing.receiver:
            found[f"apart {one.site}"] = f"WAL arrives on {one.site}, and {one.problem}: none is given on or signed"
        if one.behind_s is not None and one.behind_s > max_lag_s:
            found[f"lag {one.site}"] = f"{one.site} lacks WAL of the last {one.behind_s:.0f} s"
        for hole in one.holes:
            found[f"hole {one.site} {hole}"] = f"{one.site} lacks {hole}: no restore from there gets past it"
        if one.forged:
            found[f"forged {one.site}"] = "; ".join(one.forged)
    for words in standing.slots:
        found[f"slot {words.split()[0]}"] = words
    return found


def expired_files(files: Iterable[str], oldest_start_lsn: int, size: int) -> tuple[str, ...]:
    """Segments that no kept set needs: all of whose bytes come before the start of the oldest. Histories stay.

    Args:
        files: Below the directory of all WAL.
        oldest_start_lsn: Where the recovery of the oldest kept set begins.
        size: Bytes of a segment.
    """
    found = []
    for file in files:
        name = file.rpartition("/")[2].partition(".")[0].partition("-")[0]
        if SEGMENT.match(name) and Segment.parse(name, size).end_lsn <= oldest_start_lsn:
            found.append(file)
    return tuple(sorted(found))


def due_pages(
    entries: Iterable[Entry],
    signed: Mapping[str, Index],
    used: Mapping[str, Collection[int]],
    like: Index,
    again: Collection[str] = (),
) -> tuple[Index, ...]:
    """The pages that must be signed anew, the oldest first: those that lack something, or have a growing segment that is no more.

    Args:
        entries: All whole files that are known, and the growing segment.
        signed: The pages that are believed, by hour.
        used: The numbers that any site has a file for, believed or not, by hour.
        like: A page of that service and cluster, for what all pages share.
        again: Hours that need a new number though nothing has changed: on a site something else is in its place.
    """
    by_hour: dict[str, dict[str, Entry]] = {}
    for one in entries:
        by_hour.setdefault(one.hour, {}).setdefault(one.file, one)
    grown = {file for now in by_hour.values() for file, one in now.items() if one.partial_end}
    stale = {hour for hour, page in signed.items() if any(e.partial_end and e.file not in grown for e in page.entries)}
    found = []
    for hour in sorted(by_hour.keys() | stale):
        before = {one.file: one for one in signed[hour].entries} if hour in signed else {}
        kept = {file: one for file, one in before.items() if not one.partial_end or file in grown}
        wanted = {**by_hour.get(hour, {}), **kept}
        if wanted == before and hour not in again:
            continue
        seq = (signed[hour].seq if hour in signed else 0) + 1
        while seq in used.get(hour, ()):  # a forged page of a high number must not make us count from there
            seq += 1
        ordered = tuple(sorted(wanted.values(), key=lambda one: (one.last_at, one.file)))
        found.append(like.model_copy(update={"hour": hour, "seq": seq, "entries": ordered}))
    return tuple(found)
