"""Making files of a backup good on a site that has them bad: from sites whose bytes were read and are what was signed.

What was there is kept as evidence: in the site's quarantine where it is a directory or a bucket without versions, else as the
object's older version. Bytes go from host to host, or between a host and a bucket; each file is proven where it arrives, and
read again where it stands.
"""

from __future__ import annotations

import threading
from functools import partial

from recoverd.backup.compare import Health
from recoverd.connections import Completed
from recoverd.errors import Look, RecoverdError, Stale, Unreachable
from recoverd.inventory import HostSite
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_on
from tasks.parts import Place, get, put
from tasks.passages import backup_scope, needs_passage, the_site
from tasks.sites import Bucket, sites_of
from tasks.together import together
from tasks.views import Facts

MEND_TIME_LIMIT_S = 48 * 3600.0
_STREAMS = 2  # files at a time on one site
_SHOWN = 5


class Source(Facts):
    """A site that has a file as it was signed.

    Attributes:
        version: The older version that it has so; empty for what a plain read gets.
        doubted: The site as a whole is not trusted: its host gets no key to another one.
    """

    site: str
    version: str = ""
    doubted: bool = False


class Mend(Facts):
    """A file that is to be made good.

    Attributes:
        key: Below the site.
        was: What is the matter with it there.
        version: An older version that is good, in the same bucket.
        sources: Sites to take it from, the best first.
    """

    key: str
    size: int
    sha256: str
    md5: str
    was: Health
    version: str = ""
    sources: tuple[Source, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.key.rpartition("/")[2]

    @property
    def summary(self) -> str:
        """From where it comes."""
        whence = "its own older version" if self.version else self.sources[0].site if self.sources else "nowhere"
        return f"{self.name} ({self.was.value}) from {whence}"


class Mending(Facts):
    """What is to be made good of one set on one site.

    Attributes:
        group: The set's id.
        documents: Manifest and signature; they come last, for they make the set a set.
    """

    site: str
    group: str
    files: tuple[Mend, ...] = ()
    documents: tuple[Mend, ...] = ()

    @property
    def all(self) -> tuple[Mend, ...]:
        """In the order in which they are made good."""
        return (*self.files, *self.documents)

    @property
    def size(self) -> int:
        """Bytes that the site must have room for."""
        return sum(one.size for one in self.all)

    @property
    def summary(self) -> str:
        """Which files, from where."""
        shown = ", ".join(one.summary for one in self.all[:_SHOWN])
        return shown + (f" and {len(self.all) - _SHOWN} more" if len(self.all) > _SHOWN else "")


def _is_mended(service: str, site: str, group: str, mending: Mending) -> Effect | None:
    if _left(service, mending):
        return None
    data = {"site": site, "group": group, "files": [one.key for one in mending.all]}
    return Effect(f"{len(mending.all)} files of {group} are good on {site}, read where they stand", data)


@act(
    "make {group} good on the site {site}: {mending.summary}",
    ask=_is_mended,
    time_limit_s=MEND_TIME_LIMIT_S,
    retries=0,
)
def mend(service: str, site: str, group: str, mending: Mending) -> None:
    """Bring each file that is not good yet; one that no source gives does not keep the others from it.

    Raises:
        RecoverdError: A file did not come; the error of the first.
    """
    left = _left(service, mending)
    errors: list[RecoverdError] = []
    came, guard = [], threading.Lock()

    def bring(file: Mend) -> None:
        try:
            _bring(service, site, file)
        except Stale:
            raise
        except RecoverdError as error:
            world().say(f"{file.key} is not healed on {site}: {error.message}")
            errors.append(error)
        else:
            with guard:
                came.append(file.key)
                world().say(f"{file.summary} to {site}: {len(came)} of {len(left)}")

    together({file.key: partial(bring, file) for file in mending.files if file.key in left}, at_most=_STREAMS)
    for file in mending.documents:
        if file.key in left and not errors:
            bring(file)
    if isinstance(the_site(service, site), HostSite):
        _heal(service, site, "drop", STAGED=_stage(service))
    if errors:
        raise errors[0]


def _left(service: str, mending: Mending) -> frozenset[str]:
    """Keys of those that are not good yet: each byte is read where it stands."""
    wanted = {one.key.removeprefix(f"{service}/"): one for one in mending.all}
    held = sites_of(service)[mending.site].hashes(service, wanted.keys())
    return frozenset(one.key for name, one in wanted.items() if name not in held or held[name].sha256 != one.sha256)


def _bring(service: str, site: str, file: Mend) -> None:
    there = sites_of(service)[site]
    if isinstance(there, Bucket):
        if file.version:
            there.s3.copy(file.key, file.key, file.version)
            return
        if not there.s3.keeps_versions() and file.was is not Health.INCOMPLETE:
            there.s3.copy(file.key, _aside(service, file.key))
        _carry(service, site, file, file.key)
        return
    staged = f"{_stage(service)}/{file.key.removeprefix(f'{service}/')}"
    _carry(service, site, file, staged)
    _heal(service, site, "swap", KEY=file.key, STAGED=staged, SHA256=file.sha256, ASIDE=_aside(service, file.key))


def _carry(service: str, site: str, file: Mend, key: str) -> None:
    """Bring a file to a key of a site from the first source that gives it."""
    last: RecoverdError = Look(f"no site has {file.key} as it was signed", f"see `recoverd sites verify {service}`")
    for source in file.sources:
        try:
            _carry_from(service, source, site, file, key)
        except Stale:
            raise
        except RecoverdError as error:
            last = error
        else:
            return
    raise last


def _carry_from(service: str, source: Source, site: str, file: Mend, key: str) -> None:
    host, verb = way(service, source, site)
    giver, taker = the_site(service, source.site), the_site(service, site)
    if verb == "put" and isinstance(giver, HostSite):
        put(service, site, Place(host, f"{giver.path}/{file.key}", key), file)
    elif verb == "get" and isinstance(taker, HostSite):
        get(service, source.site, Place(host, f"{taker.path}/{key}", file.key, source.version), file)
    else:  # from bucket to bucket, by way of a host
        between = f"/var/lib/recoverd/healing/{world().run.id}/{file.name}"
        get(service, source.site, Place(host, between, file.key, source.version), file)
        try:
            put(service, site, Place(host, between, key), file)
        finally:
            run_on("heal", host, _given(service, "drop", SITE="/", STAGED=between.lstrip("/")), timeout_s=60.0)


def way(service: str, source: Source, site: str) -> tuple[str, str]:
    """The host that moves a file from a source to a site, and what it does: `put`, `get`, or `relay`.

    The good side moves: whoever owns a host that is doubted would find the key to the other one there.
    """
    giver, taker = the_site(service, source.site), the_site(service, site)
    if isinstance(giver, HostSite) and not (source.doubted and isinstance(taker, HostSite)):
        return giver.host, "put"
    if isinstance(taker, HostSite):
        return taker.host, "get"
    here = world().inventory
    hosts = [one.host for one in here.backup_of(service).sites if isinstance(one, HostSite)]
    return [*hosts, *here.hosts_behind(service)][0], "relay"


def passage_of(service: str, source: Source, site: str) -> tuple[str, str] | None:
    """The way between hosts that a file needs: the host that is let in, and the site; None where none is needed."""
    host, verb = way(service, source, site)
    other = site if verb == "put" else source.site
    return (host, other) if verb != "relay" and needs_passage(service, host, other) else None


def _is_aside(service: str, site: str, key: str) -> Effect | None:
    parent, _, name = key.rpartition("/")
    if any(path.split("/")[0] == name for path in sites_of(service)[site].listing(parent)):
        return None
    return Effect(f"{key} stands in the quarantine of {site}", {"site": site, "key": key})


@act("put {key}, which nobody signed, aside on the site {site}", ask=_is_aside, time_limit_s=600.0)
def set_aside(service: str, site: str, key: str) -> None:
    """Move a file or a directory into the quarantine of its site. A bucket with versions only hides it."""
    there = sites_of(service)[site]
    if not isinstance(there, Bucket):
        _heal(service, site, "aside", KEY=key, ASIDE=_aside(service, key))
        return
    parent, _, name = key.rpartition("/")
    keeps = there.s3.keeps_versions()
    for path in there.listing(parent):
        if path.split("/")[0] == name:
            if not keeps:
                there.s3.copy(f"{parent}/{path}", _aside(service, f"{parent}/{path}"))
            there.s3.remove(f"{parent}/{path}")


def _aside(service: str, key: str) -> str:
    return f"{service}/quarantine/{world().run.id}/{key.removeprefix(f'{service}/')}"


def _stage(service: str) -> str:
    return f"{service}/healing/{world().run.id}"


def _heal(service: str, site: str, verb: str, **more: str) -> Completed:
    there = the_site(service, site)
    if not isinstance(there, HostSite):
        raise Unreachable(f"{site} is no directory of a host", "")
    return run_on("heal", there.host, _given(service, verb, SITE=there.path, **more), timeout_s=600.0)


def _given(service: str, verb: str, **more: str) -> dict[str, str]:
    empty = dict.fromkeys(("KEY", "STAGED", "ASIDE", "SHA256"), "")
    return {**empty, "VERB": verb, "SERVICE": backup_scope(service), **more}
