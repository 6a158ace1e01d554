"""The WAL archive on the sites: what each holds, bringing it what it lacks, and the signed index. See recoverd/backup/archive.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from recoverd.backup import keys
from recoverd.backup.archive import Entry, Index, believe_index, pages
from recoverd.backup.signing import read_trusted_key
from recoverd.errors import Look, NotAllowed, RecoverdError, Refused, Stale, Tampered
from recoverd.world import world
from tasks.parts import Place, put
from tasks.passages import close_passage, forget_key, needs_passage, open_passage
from tasks.receiving import receiving_site
from tasks.sites import Site, sites_of

WAY_RENEWED_AFTER_S = 6 * 3600.0


@dataclass
class Shelf:
    """What a site holds of the archive, as it was last seen.

    Attributes:
        reached: Whether it answered and may be used; the rest is what was known before otherwise.
        apart: It is in quarantine: neither written to nor read from, and nothing is removed there.
        problem: Why it did not, or does not take what it is given.
        files: Bytes by file, below the directory of all WAL.
        pages: Of each hour, the page with the highest number that is believed.
        forged: Pages that nobody signed.
    """

    site: str
    reached: bool = False
    apart: bool = False
    problem: str = ""
    files: dict[str, int] = field(default_factory=dict)
    pages: dict[str, Index] = field(default_factory=dict)
    forged: tuple[str, ...] = ()

    def has(self, entry: Entry) -> bool:
        """Whether the file is there, by its size."""
        return self.files.get(entry.file) == entry.size


def look_at_shelf(service: str, shelf: Shelf) -> None:
    """List a site's archive anew, and read the pages of its index that are new."""
    site = sites_of(service)[shelf.site]
    try:
        site.probe()
        listed = site.listing(keys.archive_dir(service))
        shelf.files = {name: held.size for name, held in listed.items()}
        _read_pages(service, site, shelf)
    except RecoverdError as error:
        shelf.reached, shelf.problem = False, error.message
        return
    shelf.reached, shelf.problem = True, ""


def _read_pages(service: str, site: Site, shelf: Shelf) -> None:
    trusted = read_trusted_key(world().inventory.backup_of(service).trusted_key)
    forged, found = [], {}
    for hour, numbers in pages(shelf.files).items():
        for number in numbers:
            known = shelf.pages.get(hour)
            if known is not None and known.seq == number:
                found[hour] = known
                break
            try:
                document = site.read(keys.index_key(service, hour, number))
                signature = site.read(keys.index_key(service, hour, number, "sig"))
                found[hour] = believe_index(document, signature, trusted, service, hour, number)
                break
            except (Tampered, Look) as error:
                forged.append(error.message)
    shelf.pages, shelf.forged = found, tuple(forged)


def open_way(service: str, site: str) -> None:
    """Let the receiver's host put files on a site, for another day. Nothing to do for a bucket, and for its own site."""
    host = receiving_site(service).host
    if needs_passage(service, host, site):
        open_passage.function(service, host, site)


def close_ways(service: str, host: str, sites: Iterable[str]) -> None:
    """Take the ways of a host that received away."""
    for site in sites:
        if needs_passage(service, host, site):
            close_passage.function(service, host, site)
    forget_key(service, host)


def give(service: str, shelf: Shelf, entries: Iterable[Entry], *, within_s: float) -> int:
    """Bring files from the receiver to a site, in the order given, for so many seconds; how many came.

    What does not come is left for the next time, and said in the shelf's problem.
    """
    receiver, deadline, came = receiving_site(service), time.monotonic() + within_s, 0
    for entry in entries:
        if time.monotonic() > deadline:
            break
        key = entry.key(service)
        place = Place(receiver.host, f"{receiver.path}/{key}", key, lasting=not entry.partial_end)
        if (
            entry.partial_end and entry.file in shelf.files
        ):  # packed anew since: nothing counts on the one that is there
            drop_files(service, shelf, [entry.file])
        try:
            put(service, shelf.site, place, entry)
        except Stale:
            raise
        except (Look, Refused) as error:
            # that one file is no good where it stands or is to go; the others are not kept from the site by it
            shelf.problem = error.message
            continue
        except RecoverdError as error:
            shelf.problem, shelf.reached = error.message, False
            break
        shelf.files[entry.file] = entry.size
        came += 1
    return came


def write_page(service: str, shelf: Shelf, page: Index, *, lasting: bool) -> None:
    """Sign a page, write it to a site, and remove those that it replaces.

    Raises:
        NotAllowed: There is no signing key.
    """
    key = world().inventory.backup_of(service).signing_key
    if key is None:
        raise NotAllowed("the inventory names no signing key", "name `signing_key` of the service in backups.yaml")
    site, (document, signature) = sites_of(service)[shelf.site], page.signed(key.resolve())
    names = {ending: keys.index_key(service, page.hour, page.seq, ending) for ending in ("sig", "json")}

    def write() -> None:
        site.write(names["sig"], signature, lasting=lasting)
        site.write(names["json"], document, lasting=lasting)  # last: it makes the page a page

    if not _tried(shelf, write):
        return
    before = f"{keys.archive_dir(service)}/"
    shelf.files |= {
        names["sig"].removeprefix(before): len(signature),
        names["json"].removeprefix(before): len(document),
    }
    shelf.pages[page.hour] = page
    older = [number for number in pages(shelf.files).get(page.hour, ()) if number < page.seq]
    drop_files(service, shelf, [f"index/{page.hour}-{number:06d}.{end}" for number in older for end in ("json", "sig")])


def drop_files(service: str, shelf: Shelf, files: Iterable[str]) -> None:
    """Remove files of a site's archive."""
    site = sites_of(service)[shelf.site]
    for file in files:
        if file in shelf.files:
            if not _tried(shelf, lambda file=file: site.drop(f"{keys.archive_dir(service)}/{file}")):  # type: ignore[misc]
                return
            shelf.files.pop(file, None)


def _tried(shelf: Shelf, call: Callable[[], None]) -> bool:
    try:
        call()
    except RecoverdError as error:
        shelf.problem, shelf.reached = error.message, False
        return False
    return True
