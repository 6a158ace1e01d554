"""Sets of which no site gives a manifest that is believed: what the sites hold, held against each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from recoverd.backup import keys
from recoverd.backup.compare import Held, odd_one_out
from recoverd.errors import Look, Refused, TryAgain
from tasks.surveying import Seen
from tasks.together import together
from tasks.views import Facts


class Unsigned(Facts):
    """What is left of a set that nobody signed for: a majority proves nothing, but it may be all that there is.

    Attributes:
        sites: Those that have parts of it.
        parts: Parts that two sites or more have alike, of `known`.
        doubted: Sites that disagree with two that agree.
    """

    set: str
    sites: tuple[str, ...]
    parts: int
    known: int
    doubted: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line."""
        rest = f"; {', '.join(self.doubted)} disagrees with the others" if self.doubted else ""
        return (
            f"{self.set} is signed for nowhere (unfinished, or its manifest is lost); of {self.known} parts on "
            f"{', '.join(self.sites)}, {self.parts} are the same on two sites or more{rest}"
        )


def compare_unsigned(service: str, asked: Mapping[str, Seen], believed: Collection[str]) -> tuple[Unsigned, ...]:
    """Every set that some site has parts of and no manifest is believed of, each part read where it stands."""
    names = {name for seen in asked.values() for name in seen.listed} - set(believed)
    found = []
    for name in sorted(names):
        sites = [seen for seen in asked.values() if any(map(keys.PART.match, seen.listed.get(name, ())))]
        read = together({seen.site.name: partial(_parts, service, seen, name) for seen in sites})
        held = {site: parts for site, parts in read.items() if parts}
        if held:
            found.append(_compared(name, held))
    return tuple(found)


def _parts(service: str, seen: Seen, name: str) -> dict[str, Held]:
    try:
        files = seen.site.read_all(keys.set_key(service, name))
    except (Look, Refused, TryAgain):
        return {}
    return {file: held for file, held in files.items() if keys.PART.match(file)}


def _compared(name: str, held: Mapping[str, Mapping[str, Held]]) -> Unsigned:
    known = sorted({file for files in held.values() for file in files})
    alike = 0
    for file in known:
        hashes = [files[file].sha256 for files in held.values() if file in files]
        alike += max(hashes.count(one) for one in hashes) > 1
    doubted = {site for sites in odd_one_out(held).values() for site in sites}
    return Unsigned(set=name, sites=tuple(held), parts=alike, known=len(known), doubted=tuple(sorted(doubted)))
