"""What a set of files holds, looked up without fetching it: its list alone is read, proven, and opened on a host."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from recoverd.backup import keys
from recoverd.backup.listed import Listed, below, read_listed
from recoverd.backup.manifest import Manifest
from recoverd.errors import Look, RecoverdError
from recoverd.step import observe
from tasks.archived import decrypted
from tasks.sites import sites_of
from tasks.views import Facts
from tasks.wanted import wanted_paths


class Found(Facts):
    """Whether what is wanted is in the set.

    Attributes:
        lacking: Paths that it does not have.
        entries: How many it has of the others.
        unknown: Why nobody can tell before the set is fetched; empty otherwise.
    """

    set: str
    lacking: tuple[str, ...] = ()
    entries: int = 0
    unknown: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.unknown:
            return f"what {self.set} holds is not known before it is fetched: {self.unknown}"
        return (
            f"{self.set} does not have {', '.join(self.lacking)}" if self.lacking else f"{self.entries} entries of it"
        )


@observe("look for the paths in {set_name}", time_limit_s=120.0)
def find_wanted(archive: str, host: str, set_name: str, manifest: Manifest, sites: tuple[str, ...]) -> Found:
    """Hold the paths of the run against the list of the set."""
    try:
        entries = read_list(archive, host, manifest, sites)
    except RecoverdError as error:
        return Found(set=set_name, unknown=error.message)
    lacking = tuple(path for path in wanted_paths() if not any(below(one, path) for one in entries))
    count = sum(any(below(one, path) for path in wanted_paths()) for one in entries)
    return Found(set=set_name, lacking=lacking, entries=count)


def read_list(archive: str, host: str, manifest: Manifest, sites: Iterable[str]) -> tuple[Listed, ...]:
    """The entries of a set.

    Args:
        archive: `NAME.HOST`.
        host: Where it is opened.
        manifest: Of the set, believed.
        sites: Where it is read, the best first.

    Raises:
        Look: No site gives it as it was signed, or it cannot be opened.
    """
    part = next((one for one in manifest.parts if one.name == keys.LIST), None)
    if part is None:
        raise Look(f"{manifest.set} has no list", "it is no set of files")
    words, known = [], sites_of(archive)
    for name in sites:
        try:
            content = known[name].read(keys.set_key(archive, manifest.set, keys.LIST))
        except RecoverdError as error:
            words.append(error.message)
            continue
        if hashlib.sha256(content).hexdigest() == part.sha256:
            plain = decrypted(archive, host, {keys.LIST: content})
            if not plain:
                raise Look("there is no age identity on this machine", "name `identity` in backups.yaml")
            return tuple(read_listed(plain[keys.LIST].decode("utf-8", "surrogateescape")))
        words.append(f"{name} has it damaged")
    raise Look(f"no site gives the list of {manifest.set}: {'; '.join(words)}", f"recoverd sites verify {archive}")
