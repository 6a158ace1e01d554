"""The WAL archive on the sites, every byte of it held against the signed index. The growing segment is left out: it is written
anew all the time, and so is the index of the last hour.

As with sets, there are two rounds: what each site gives, then each held against what is believed from any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial

from pydantic import Field, ValidationError

from recoverd.backup import keys
from recoverd.backup.archive import Entry, Index, believe_index, hour_of, known, pages
from recoverd.backup.compare import File, Finding, Health, Held, Older, SetHealth, judge_files, looks_other, worst
from recoverd.backup.signing import read_trusted_key
from recoverd.backup.wal import SEGMENT, Segment
from recoverd.errors import Look, Refused, Tampered, TryAgain
from recoverd.step import observe
from recoverd.world import world
from tasks.sites import Site, sites_of
from tasks.together import together
from tasks.views import Facts

GROUP = "wal"
SETTLED = timedelta(hours=1)  # what is younger is still on its way to some sites, and nobody's fault


class Archive(Facts):
    """All WAL that is signed for, and what each site has of it.

    Attributes:
        sites: By site that answered.
        lacking: By site, files that it does not have and need not have: let go, or still on their way.
        files: What was signed for; not in the record, for there may be many.
        documents: The pages of the index and their signatures, likewise.
    """

    sites: tuple[SetHealth, ...] = ()
    lacking: dict[str, frozenset[str]] = Field(default_factory=dict, exclude=True)
    files: tuple[File, ...] = Field(default=(), exclude=True)
    documents: tuple[File, ...] = Field(default=(), exclude=True)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return "; ".join(f"WAL on {one.site}: {one.health.value}" for one in self.sites) or "no WAL is signed for"


@dataclass
class Shelf:
    """What a site answered in the first round.

    Attributes:
        listed: By file below the directory of all WAL.
        pages: By hour: the believed page with the highest number, and its two files.
        bad: Pages that are not believed, by their files, with what is there and why.
    """

    site: Site
    problem: str = ""
    listed: dict[str, Held] = field(default_factory=dict)
    pages: dict[str, tuple[Index, dict[str, bytes]]] = field(default_factory=dict)
    bad: dict[str, tuple[bytes, str]] = field(default_factory=dict)


@observe("read all WAL on the sites of {service}", time_limit_s=48 * 3600.0)
def read_wal(service: str) -> Archive:
    """Every byte of it, where it stands."""
    return read_archive(service)


def read_archive(service: str, now: datetime | None = None) -> Archive:
    """The same, outside of a run."""
    asked = together({name: partial(_ask, service, site) for name, site in sites_of(service).items()})
    shelves = [one for one in asked.values() if not one.problem]
    best = _best_pages(shelves)
    entries = known(index for index, _ in best.values())
    settled = (now or datetime.now(timezone.utc)) - SETTLED
    files = tuple(entry for entry in entries.values() if not entry.partial_end)
    documents = {
        name: content for hour, (_, pair) in best.items() if hour < hour_of(settled) for name, content in pair.items()
    }
    judged = together({
        shelf.site.name: partial(_judge, service, shelf, files, documents, settled, best) for shelf in shelves
    })  # fmt: skip
    return Archive(
        sites=tuple(one for one in judged.values() if one is not None),
        lacking={
            shelf.site.name: frozenset(one.file for one in files if one.file not in shelf.listed) for shelf in shelves
        },
        files=tuple(File(name=one.file, size=one.size, sha256=one.sha256, md5=one.md5) for one in files),
        documents=tuple(File.of(name, content) for name, content in documents.items()),
    )


def _ask(service: str, site: Site) -> Shelf:
    shelf = Shelf(site)
    trusted = read_trusted_key(world().inventory.backup_of(service).trusted_key)
    try:
        site.probe()
        shelf.listed = site.listing(keys.archive_dir(service))
        for hour, numbers in pages(shelf.listed).items():
            for number in numbers:
                if _read_page(service, shelf, trusted, hour, number):
                    break
    except (TryAgain, Refused, Tampered, Look) as error:
        shelf.problem = error.message
    return shelf


def _read_page(service: str, shelf: Shelf, trusted: str, hour: str, number: int) -> bool:
    """Whether a page is believed. One that is gone meanwhile was replaced by a newer one."""
    names = [keys.index_key(service, hour, number, ending) for ending in ("json", "sig")]
    try:
        document, signature = (shelf.site.read(name) for name in names)
    except Look:
        return False
    below = [name.removeprefix(f"{keys.archive_dir(service)}/") for name in names]
    try:
        index = believe_index(document, signature, trusted, service, hour, number)
    except Tampered as error:
        shelf.bad |= {
            name: (content, error.message) for name, content in zip(below, (document, signature), strict=True)
        }
        return False
    shelf.pages[hour] = (index, dict(zip(below, (document, signature), strict=True)))
    return True


def _best_pages(shelves: Iterable[Shelf]) -> dict[str, tuple[Index, dict[str, bytes]]]:
    best: dict[str, tuple[Index, dict[str, bytes]]] = {}
    for shelf in shelves:
        for hour, page in shelf.pages.items():
            if hour not in best or best[hour][0].seq < page[0].seq:
                best[hour] = page
    return best


def _judge(
    service: str, shelf: Shelf, entries: Sequence[Entry], documents: Mapping[str, bytes], settled: datetime,
    best: Mapping[str, tuple[Index, dict[str, bytes]]],
) -> SetHealth | None:  # fmt: skip
    wanted = [
        File(name=one.file, size=one.size, sha256=one.sha256, md5=one.md5)
        for one in entries
        if one.file in shelf.listed or (one.last_at < settled and not _let_go(shelf, one, best))
    ]
    if not wanted and not documents and not shelf.bad:
        return None
    site, key = shelf.site, keys.archive_dir(service)
    try:
        held = site.hashes(key, [one.name for one in wanted])
        found = judge_files(wanted, held, read=True, older=_older(site, key, wanted, held))
    except (Look, TryAgain, Refused) as error:
        finding = Finding(key=GROUP, health=Health.UNREACHABLE, evidence=error.message)
        return SetHealth(site=site.name, set=GROUP, health=Health.UNREACHABLE, findings=(finding,))
    wrong = [one for one in found if one.health is Health.DAMAGED]
    rewritten = len(wrong) == len(held) > 1 and all(one.size for one in held.values())
    findings = (*_page_findings(shelf, documents), *found)
    health = worst(findings, absent=False, rewritten=rewritten) if findings else Health.GOOD
    return SetHealth(site=site.name, set=GROUP, findings=findings, rewritten=rewritten, health=health)


def _older(site: Site, key: str, wanted: Sequence[File], held: Mapping[str, Held]) -> Older:
    wrong = {one.name: one for one in wanted if one.name not in held or held[one.name].sha256 != one.sha256}
    found = site.older(key) if wrong else {}
    first = {
        name: next(
            (one.version for one in found.get(name, ()) if one.size == file.size and not looks_other(file, one)), ""
        )
        for name, file in wrong.items()
    }
    chosen = {name: version for name, version in first.items() if version}
    return {name: [one] for name, one in site.proven(key, chosen).items()} if chosen else {}


def _let_go(shelf: Shelf, entry: Entry, best: Mapping[str, tuple[Index, dict[str, bytes]]]) -> bool:
    """Whether a site that does not have a segment has only newer ones: it was let go there with the sets that needed it."""
    if not SEGMENT.match(entry.name):
        return False
    size = next(index.segment_bytes for index, _ in best.values())
    here = [match[2] for file in shelf.listed if (match := keys.WAL_FILE.match(file)) and SEGMENT.match(match[2])]
    ends = [Segment.parse(name, size).start_lsn for name in here]
    return bool(ends) and Segment.parse(entry.name, size).end_lsn <= min(ends)


def _page_findings(shelf: Shelf, documents: Mapping[str, bytes]) -> list[Finding]:
    """Pages that a site lacks, has spoiled, or that somebody made."""
    findings = []
    mine = {name: content for _, pair in shelf.pages.values() for name, content in pair.items()}
    for name, content in documents.items():
        if mine.get(name) == content or shelf.bad.get(name, (b"", ""))[0] == content:
            continue
        if name not in shelf.bad:
            findings.append(Finding(key=name, health=Health.INCOMPLETE, evidence=f"{name} is missing"))
    for name, (content, why) in shelf.bad.items():
        if documents.get(name) != content:
            other = shelf.bad.get(f"{name.rpartition('.')[0]}.json", (b"", ""))[0]
            made = other != documents.get(f"{name.rpartition('.')[0]}.json") and _reads(other)
            findings.append(
                Finding(key=name, health=Health.TAMPERED if made else Health.DAMAGED, evidence=f"{name}: {why}")
            )
    return findings


def _reads(document: bytes) -> bool:
    """Whether it is a page in form."""
    try:
        return bool(Index.model_validate_json(document))
    except ValidationError:
        return False
