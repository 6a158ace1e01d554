"""The WAL on the sites of a backup: what the signed index says, and which site holds what of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import tenacity
from pydantic import Field

from recoverd.backup import keys
from recoverd.backup.archive import Entry, Index, believe_index, known, pages
from recoverd.backup.chains import Shelf, Stored, stored
from recoverd.backup.signing import read_trusted_key
from recoverd.backup.wal import Switch, parse_history
from recoverd.errors import Look, RecoverdError, Refused, Tampered, TryAgain
from recoverd.step import observe
from recoverd.world import world
from tasks.hosts import run_on
from tasks.receiving import receiving_site
from tasks.sites import Site, sites_of
from tasks.together import together
from tasks.views import Facts

ARRIVAL_LIMIT_S = 60.0  # the sites have what was written within a minute
_READERS = 6  # a host lets ten sessions in at once


class WalSite(Facts):
    """What a site has of the WAL.

    Attributes:
        files: How many segments, whole or growing.
        newest: The newest of them.
        problem: Why it could not be asked.
    """

    site: str
    files: int = 0
    newest: str = ""
    problem: str = ""

    @property
    def words(self) -> str:
        """What it has."""
        return f"{self.files} files of WAL up to {self.newest}" if self.files else "no WAL"


class Archive(Facts):
    """All WAL of a service that its sites speak of.

    Attributes:
        disbelieved: Pages of the index, and histories, that are not what was signed, with the site; for healing.
        shelf: The files themselves; not in the record, for there may be many.
    """

    system_identifier: str = ""
    sites: tuple[WalSite, ...] = ()
    timelines: tuple[int, ...] = ()
    disbelieved: tuple[str, ...] = ()
    shelf: Shelf = Field(default_factory=Shelf, exclude=True)

    def reaches(self, moment: datetime) -> bool:
        """Whether something that was received after a moment is signed for."""
        return any(one.entry is not None and one.entry.last_at >= moment for one in self.shelf.files.values())

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if not self.shelf.files:
            return "no site has WAL: a set can be restored to its own end only"
        words = [f"{one.site}: {one.problem or one.words}" for one in self.sites]
        return "; ".join([*words, *self.disbelieved])


@observe("look at the WAL on the sites of {service}", time_limit_s=300.0)
def survey_wal(service: str, host: str) -> Archive:
    """Ask all sites at once; of the index, only what is signed is believed.

    Args:
        service: The service.
        host: Where the histories of timelines are decrypted: the host that restores.
    """
    return _survey(service, host)


@observe("wait for the WAL of {moment} to come to the sites", time_limit_s=ARRIVAL_LIMIT_S + 300.0)
def await_wal(service: str, host: str, moment: str) -> Archive:
    """The same, again until what was received after a moment is signed for, for a minute at most; then as it is."""
    looking = tenacity.Retrying(
        stop=tenacity.stop_after_delay(ARRIVAL_LIMIT_S),
        wait=tenacity.wait_fixed(2.0),
        retry=tenacity.retry_if_result(lambda found: not found.reaches(datetime.fromisoformat(moment))),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    found: Archive = looking(_survey, service, host)
    return found


def _survey(service: str, host: str) -> Archive:
    sites = sites_of(service)
    looks: dict[str, Callable[[], tuple[dict[str, int], str]]] = {
        name: partial(_list, service, site) for name, site in sites.items()
    }
    found = together(looks)
    listings = {name: files for name, (files, problem) in found.items() if not problem}
    indexes, bad = _believed(service, {name: sites[name] for name in listings}, listings)
    # Of two clusters' WAL under one service, the newer one's counts: segments of the same name are not of one chain.
    ours = indexes[-1].system_identifier if indexes else ""
    entries = known(one for one in indexes if one.system_identifier == ours)
    for name, listed in listings.items():
        _count_older(service, sites[name], listed, entries)
    files = stored(entries, {name: _trusted(service, name, listed, entries) for name, listed in listings.items()})
    bytes_ = indexes[-1].segment_bytes if indexes else 16 << 20
    histories, worse = _histories(service, host, sites, files)
    views = tuple(_view(name, files, problem) for name, (_, problem) in found.items())
    shelf = Shelf(bytes_, files, histories)
    return Archive(
        system_identifier=ours, sites=views, timelines=shelf.timelines,
        disbelieved=(*bad, *worse), shelf=shelf,
    )  # fmt: skip


def _trusted(service: str, site: str, listed: Mapping[str, int], entries: Mapping[str, Entry]) -> Mapping[str, int]:
    """What nobody has signed for yet is believed only of the site where WAL arrives: the others are given nothing else."""
    try:
        arrives = receiving_site(service).name == site
    except Refused:
        arrives = False
    return listed if arrives else {file: size for file, size in listed.items() if file in entries}


def _list(service: str, site: Site) -> tuple[dict[str, int], str]:
    try:
        site.probe()
        return {name: one.size for name, one in site.listing(keys.archive_dir(service)).items()}, ""
    except (TryAgain, Refused, Tampered, Look) as error:
        return {}, error.message


def _count_older(service: str, site: Site, listed: dict[str, int], entries: Mapping[str, Entry]) -> None:
    """What a bucket keeps behind an overwritten or deleted object is there too: a fetch finds it, and proves it."""
    if all(listed.get(file) == entry.size for file, entry in entries.items()):
        return
    for file, versions in site.older(keys.archive_dir(service)).items():
        entry = entries.get(file)
        if entry is not None and any(one.size == entry.size for one in versions):
            listed[file] = entry.size


def _view(name: str, files: Mapping[str, Stored], problem: str) -> WalSite:
    held = sorted(one.name for one in files.values() if name in one.sites and not one.name.endswith(".history"))
    return WalSite(site=name, files=len(held), newest=held[-1] if held else "", problem=problem)


def _believed(
    service: str, sites: Mapping[str, Site], listings: Mapping[str, Mapping[str, int]]
) -> tuple[list[Index], tuple[str, ...]]:
    """Of each hour the newest page that is believed, from whichever site gives it: a signature is as good from any."""
    trusted = read_trusted_key(world().inventory.backup_of(service).trusted_key)
    numbers = {name: pages(files) for name, files in listings.items()}
    hours = sorted({hour for found in numbers.values() for hour in found})
    calls: dict[str, Callable[[], tuple[Index | None, tuple[str, ...]]]] = {
        hour: partial(
            _page, service, trusted, sites, {name: found.get(hour, ()) for name, found in numbers.items()}, hour
        )
        for hour in hours
    }
    found = together(calls, at_most=_READERS)
    return [page for page, _ in found.values() if page is not None], tuple(
        line for _, bad in found.values() for line in bad
    )


def _page(
    service: str, trusted: str, sites: Mapping[str, Site], numbers: Mapping[str, tuple[int, ...]], hour: str
) -> tuple[Index | None, tuple[str, ...]]:
    bad: list[str] = []
    tries = sorted(((number, name) for name, all_ in numbers.items() for number in all_), reverse=True)
    for number, name in tries:
        try:
            document = sites[name].read(keys.index_key(service, hour, number))
            signature = sites[name].read(keys.index_key(service, hour, number, "sig"))
            return believe_index(document, signature, trusted, service, hour, number), tuple(bad)
        except RecoverdError as error:
            bad.append(f"{name}: {error.message}")
    return None, tuple(bad)


def _histories(
    service: str, host: str, sites: Mapping[str, Site], files: Mapping[str, Stored]
) -> tuple[dict[int, tuple[Switch, ...]], tuple[str, ...]]:
    """The ancestors of each timeline, from its history file, proven by the hash that was signed for it."""
    bad: list[str] = []
    sealed: dict[str, bytes] = {}
    for one in files.values():
        if one.name.endswith(".history") and one.entry is not None:
            content = _good_copy(service, sites, one, bad)
            if content is not None:
                sealed[one.name] = content
    plain = decrypted(service, host, sealed) if sealed else {}
    return {int(name[:8], 16): parse_history(text.decode()) for name, text in plain.items()}, tuple(bad)


def _good_copy(service: str, sites: Mapping[str, Site], one: Stored, bad: list[str]) -> bytes | None:
    for name in one.sites:
        try:
            content = sites[name].read(f"{keys.archive_dir(service)}/{one.file}")
        except RecoverdError as error:
            bad.append(f"{name}: {error.message}")
            continue
        if hashlib.sha256(content).hexdigest() == one.sha256:
            return content
        bad.append(f"{name}: {one.file} is not what was signed for")
    return None


def decrypted(service: str, host: str, sealed: Mapping[str, bytes]) -> dict[str, bytes]:
    """Small files in the clear, by name; the host does it, for it has the programs.

    Raises:
        Look: It cannot, or the identity does not open them.
    """
    identity = world().inventory.backup_of(service).identity
    if identity is None:
        return {}
    lines = "\n".join(f"{name}\t{base64.b64encode(content).decode()}" for name, content in sealed.items())
    done = run_on("decrypt", host, {"FILES": lines, "IDENTITY": identity.resolve()}, timeout_s=60.0)
    pairs = (line.partition("\t") for line in done.out.splitlines())
    found = {name: base64.b64decode(content) for name, tab, content in pairs if tab and content}
    if lost := sorted(set(sealed) - set(found)):
        raise Look(f"{lost[0]} cannot be decrypted on {host}", "see that the age identity is the right one")
    return found
