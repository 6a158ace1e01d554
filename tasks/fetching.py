"""Fetching the parts of a set, or WAL, to one host from several sites at once.

Every part is proven where it arrives. One that a site does not have, has damaged, or does not give in time is taken from
another site at once, unless the site keeps older versions and one of those is right; a site that keeps failing is left
alone. While parts are under way at the end, idle sites fetch them too, and the first to bring one ends the others: a slow
site delays nobody.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, cast

from recoverd.backup import keys
from recoverd.backup.manifest import Part
from recoverd.errors import Look, RecoverdError, Stale, Tampered, Unsafe
from recoverd.inventory import S3Site
from recoverd.world import world
from tasks.parts import Place, Sums, get
from tasks.passages import the_site
from tasks.progress import Progress
from tasks.sites import sites_of
from tasks.surveying import versions_to_read

STREAMS_A_SITE = 2
_MOST_VERSIONS = 3
_LISTING_S = 2.0
_FAILURES_IN_A_ROW = 3
_TRIES_A_PART = 3
_PAUSE_S = 0.5


class Piece(Sums, Protocol):
    """What is fetched: a part of a set, or a file of WAL. Nobody has signed for one with an empty hash."""

    @property
    def name(self) -> str:
        """Its name among the others."""


@dataclass
class Fetch:
    """The state of one fetch, shared by its threads.

    Attributes:
        set_name: What it is called in messages.
        key_of: The key of a part on the sites; none: that of a part of the set.
        file_of: What a part is called on the host; none: by its own name.
        lacking: By part: sites that are known not to have it.
        came_from: How many parts each site brought.
        versions: Of parts that a plain read does not get as they were signed: the older version to read, by site and part.
        bad: What a site has damaged or does not have, by site: for healing.
        away: Sites that were given up, with the reason.
    """

    service: str
    set_name: str
    host: str
    directory: str
    parts: Sequence[Piece]
    sites: Sequence[str]
    key_of: Callable[[str], str] | None = None
    file_of: Callable[[str], str] = str
    lacking: Mapping[str, Collection[str]] = field(default_factory=dict)
    versions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    came_from: Counter[str] = field(default_factory=Counter)
    bad: dict[str, list[str]] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)
    size: int = 0
    _open: dict[str, set[str]] = field(default_factory=dict)
    _failed: dict[str, set[str]] = field(default_factory=dict)
    _looked: dict[str, threading.Event] = field(default_factory=dict)
    _passing: dict[tuple[str, str], str] = field(default_factory=dict)
    _tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    _stop: RecoverdError | None = None
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _progress: Progress = field(default_factory=lambda: Progress("", 0, 0))

    def run(self, here_already: set[str]) -> None:
        """Fetch what is missing.

        Raises:
            Unsafe: No site that is left has a part.
        """
        self._open = {part.name: set() for part in self.parts if part.name not in here_already}
        self._failed = {name: set(sites) for name, sites in self.lacking.items()}
        left = [part.size for part in self.parts if part.name in self._open]
        self._progress = Progress(self.set_name, len(left), sum(left))
        buckets = [site for site in self.sites if isinstance(the_site(self.service, site), S3Site)]
        self._looked = {site: threading.Event() for site in buckets if self.key_of is None}
        for site in self._looked:
            threading.Thread(
                target=copy_context().run, args=(self._look, site), name=f"look {site}", daemon=True
            ).start()
        threads = [
            threading.Thread(target=copy_context().run, args=(self._work, site), name=f"fetch {site}", daemon=True)
            for site in self.sites
            for _ in range(STREAMS_A_SITE)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._stop is not None:
            raise self._stop
        if self._open:
            raise self._nobody_has(next(iter(self._open)))

    def _work(self, site: str) -> None:
        try:
            self._fetch(site)
        except Exception as error:  # the other threads would wait for ever for what this one has taken
            self._end(Look(f"fetching from {site} broke off: {error!r}", "resume the run: what was fetched is kept"))
            raise

    def _fetch(self, site: str) -> None:
        failures = 0
        while (part := self._next(site)) is not None:
            try:
                self._get(site, part)
            except (Tampered, Look) as error:
                self._failed_at(site, part, error, bad=True)
            except Stale as error:
                self._end(error)
                return
            except RecoverdError as error:
                failures += 1
                self._failed_at(site, part, error, bad=False)
                if failures >= _FAILURES_IN_A_ROW:
                    self._give_up(site, error)
                    return
                with self._turn:
                    self._turn.wait(_PAUSE_S)
            else:
                failures = 0
                self._came(site, part)

    def _key(self, part: Piece) -> str:
        return self.key_of(part.name) if self.key_of else keys.set_key(self.service, self.set_name, part.name)

    def _get(self, site: str, part: Piece) -> None:
        """Bring a part from a site: the newest version of it, or the older one that a listing or a failure leads to."""
        first, file = self._versions_at(site).get(part.name, ""), f"{self.directory}/{self.file_of(part.name)}"
        for version in chain([first], self._others(site, part, first)):
            try:
                get(self.service, site, Place(self.host, file, self._key(part), version), part)
            except (Tampered, Look) as error:
                last = error
            else:
                if version:
                    self._mark_bad(site, part)
                return
        raise last

    def _look(self, site: str) -> None:
        """Ask a bucket which parts were overwritten or hidden. Beside the fetch, for a bucket that freezes delays nobody."""
        parts = cast("Sequence[Part]", self.parts)  # of a set: see `run`
        self.versions[site] = versions_to_read(self.service, sites_of(self.service)[site], self.set_name, parts)
        self._looked[site].set()

    def _versions_at(self, site: str) -> Mapping[str, str]:
        if site in self._looked:
            self._looked[site].wait(_LISTING_S)
        return self.versions.get(site, {})

    def _others(self, site: str, part: Piece, tried: str) -> Iterator[str]:
        """Older versions that are left when one was wrong, as far as their size fits."""
        directory, _, file = self._key(part).rpartition("/")
        older = sites_of(self.service)[site].older(directory)
        fitting = [one.version for one in older.get(file, ()) if one.size == part.size and one.version != tried]
        yield from fitting[:_MOST_VERSIONS]

    def _next(self, site: str) -> Piece | None:
        """The next part for a site: one that nobody fetches, else one that somebody else does; None at the end."""
        with self._turn:
            while True:
                if self._stop is not None or not self._open or site in self.away:
                    return None
                mine = [
                    part
                    for part in self.parts
                    if part.name in self._open and site not in self._failed.get(part.name, ())
                ]
                if not mine:
                    return None
                fresh = [part for part in mine if not self._open[part.name]]
                alone = {site} in self._open.values()  # then its whole link is for that one
                shared = [part for part in mine if site not in self._open[part.name] and not alone]
                if fresh or shared:
                    part = min(fresh or shared, key=lambda one: self._tries[site, one.name])
                    self._open[part.name].add(site)
                    return part
                self._turn.wait(1.0)

    def _came(self, site: str, part: Piece) -> None:
        new = False
        with self._turn:
            if self._open.pop(part.name, None) is not None:
                self.came_from[site] += 1
                self.size += part.size
                new = True
            self._turn.notify_all()
        if new:
            self._progress.came(part.size, f"{part.name} from {site}")

    def _failed_at(self, site: str, part: Piece, error: RecoverdError, *, bad: bool) -> None:
        """A passing fault is tried again: where no other site has the part, a single one must not end the restore."""
        with self._turn:
            self._tries[site, part.name] += 1
            if bad or self._tries[site, part.name] >= _TRIES_A_PART:
                self._failed.setdefault(part.name, set()).add(site)
            if not bad:
                self._passing[site, part.name] = error.message
            self._open.get(part.name, set()).discard(site)
            if bad:
                self._mark_bad(site, part)
            world().say(f"{site} is passed over for {part.name}: {error.message}")
            self._turn.notify_all()

    def _mark_bad(self, site: str, part: Piece) -> None:
        self.bad.setdefault(site, []).append(part.name)

    def _give_up(self, site: str, error: RecoverdError) -> None:
        with self._turn:
            self.away[site] = error.message
            for sites in self._open.values():
                sites.discard(site)
            world().say(f"{site} is left alone from here on: {error.message}")
            self._turn.notify_all()

    def _end(self, error: RecoverdError) -> None:
        with self._turn:
            self._stop = error
            self._turn.notify_all()

    def _nobody_has(self, part: str) -> Unsafe:
        words = [f"{site}: {', '.join(names[:3])} damaged or missing" for site, names in self.bad.items()]
        words += [f"{site}: {why}" for site, why in self.away.items()]
        words += [why for (site, name), why in self._passing.items() if name == part and site not in self.away]
        return Unsafe(
            f"no site that is left has {part} of {self.set_name} whole ({'; '.join(words) or 'none answers'})",
            f"nothing was touched; see what can be saved: `recoverd sites verify {self.service}`",
        )
