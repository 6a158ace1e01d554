"""Bringing the WAL that has come to the other sites, and signing what there is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial

from flows.standing import due_pages, expired_files
from flows.stocking import Archive
from recoverd.backup.archive import Index, hour_of, pages
from recoverd.errors import NotAllowed, RecoverdError
from tasks.archive import WAY_RENEWED_AFTER_S, Shelf, drop_files, give, open_way, write_page
from tasks.receiving import pin, receiving_site
from tasks.together import together

GIVE_WITHIN_S = 40.0


def give_to_all(archive: Archive, here: str) -> None:
    """Bring whole files and the growing segment to the other sites, all at once; what a slow one lacks comes in a later turn."""
    service, own = archive.service, archive.shelves[here]
    given = pin(service)
    if given is not None:
        own.files[given.file] = given.size
    archive.given = given
    ready = sorted((one for one in archive.whole.values() if own.has(one)), key=lambda one: (one.last_at, one.file))

    def bring(shelf: Shelf) -> None:
        oldest = archive.starts.get(shelf.site, 0)
        size = archive.cluster.segment_bytes if archive.cluster else 0
        old = set(expired_files((one.file for one in ready), oldest, size)) if oldest and size else set()
        wanted = [one for one in [*ready, *([given] if given else [])] if not shelf.has(one) and one.file not in old]
        if not wanted:
            return
        try:
            if time.monotonic() - archive.ways.get(shelf.site, -WAY_RENEWED_AFTER_S) >= WAY_RENEWED_AFTER_S:
                open_way(service, shelf.site)
                archive.ways[shelf.site] = time.monotonic()
        except RecoverdError as error:
            shelf.reached, shelf.problem = False, error.message
            return
        give(service, shelf, wanted, within_s=GIVE_WITHIN_S)
        if not shelf.reached:
            archive.ways.pop(shelf.site, None)

    others = [shelf for shelf in archive.shelves.values() if shelf.site != here and shelf.reached]
    calls: dict[str, Callable[[], None]] = {shelf.site: partial(bring, shelf) for shelf in others}
    together(calls)
    for shelf in others:
        _tidy(archive, shelf)


def _tidy(archive: Archive, shelf: Shelf) -> None:
    """Growing segments that a site needs no more: it has the segment whole, or further."""
    given = archive.given
    if shelf.reached and (given is None or shelf.has(given)):
        whole = {one.name for one in archive.whole.values() if shelf.has(one)}
        old = [
            file
            for file in shelf.files
            if file.startswith("partial/")
            and (given is None or file != given.file)
            and (file[8:32] in whole or (given is not None and file[8:32] == given.name))
        ]
        drop_files(archive.service, shelf, old)


def sign_pages(archive: Archive) -> str:
    """Sign what has changed, and give each site the pages of which it has every file. What is wrong, or nothing."""
    if archive.cluster is None:
        return ""
    service, now = archive.service, hour_of(datetime.now(timezone.utc))
    like = Index(
        service=service, hour=now, seq=1, system_identifier=archive.cluster.system_identifier,
        segment_bytes=archive.cluster.segment_bytes,
    )  # fmt: skip
    own = archive.shelves[receiving_site(service).name]
    there = [one for one in archive.whole.values() if own.has(one)]
    used: dict[str, set[int]] = {}
    for shelf in archive.shelves.values():
        for hour, numbers in pages(shelf.files).items():
            used.setdefault(hour, set()).update(numbers)
    again = {
        hour
        for hour, page in archive.signed.items()
        for shelf in archive.shelves.values()
        if hour not in shelf.pages and page.seq in pages(shelf.files).get(hour, ())
    }
    due = [*there, *([archive.given] if archive.given else [])]
    for page in due_pages(due, archive.signed, used, like, again):
        archive.signed[page.hour] = page
    for shelf in archive.shelves.values():
        for hour, page in sorted(archive.signed.items()):
            has = shelf.pages.get(hour)
            if not shelf.reached or (has is not None and has.seq >= page.seq):
                continue
            if not all(shelf.has(one) for one in page.entries):
                continue
            try:
                write_page(service, shelf, page, lasting=hour < now)
            except NotAllowed as error:
                return error.message
    return ""
