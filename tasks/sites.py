"""The sites of a backup: what they hold, and small files on them. One class a kind, behind one small interface.

Parts do not pass through here: hosts move them by themselves, see tasks/parts.py.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from recoverd.backup.compare import Held
from recoverd.connections import S3
from recoverd.errors import Look, NotAllowed, Refused, Tampered, TryAgain
from recoverd.inventory import BackupSite, HostSite, S3Site
from recoverd.world import world
from tasks.hosts import script
from tasks.site import PROBE_TIMEOUT_S, Room, Site

__all__ = ["PROBE_TIMEOUT_S", "Bucket", "HostDirectory", "Room", "Site", "site_of", "sites_of"]

LIST_TIMEOUT_S = 30.0
HASH_TIMEOUT_S = 6 * 3600.0
_SMALL_BYTES = 64 << 20
_READERS = 4
_MISSING, _LARGE, _OTHER_BYTES = 2, 3, 4


class HostDirectory:
    """A directory on a host, over SSH."""

    def __init__(self, site: HostSite) -> None:
        self.site, self.name = site, site.name

    def probe(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> Room:
        """Raises Refused when the directory cannot be written."""
        facts = dict(
            line.split("=", 1) for line in self._run("room", "", timeout_s=timeout_s).splitlines() if "=" in line
        )
        if "writable" not in facts:
            raise Refused(
                f"the site {self.name} cannot be written: {self.site.path} on {self.site.host}",
                "make the directory, and see that its file system is mounted and its disk is not read-only",
            )
        free = facts.get("free_kb", "")
        return Room(int(free) * 1024 if free.isdigit() else None, float(facts["now"]) if "now" in facts else None)

    def listing(self, key: str) -> dict[str, Held]:
        """By `find`."""
        return _held(self._run("list", key, timeout_s=LIST_TIMEOUT_S))

    def read_all(self, key: str) -> dict[str, Held]:
        """By `sha256sum` on the host."""
        return _held(self._run("hash", key, timeout_s=HASH_TIMEOUT_S, NAMES=""))

    def hashes(self, key: str, names: Collection[str]) -> dict[str, Held]:
        """Likewise."""
        if not names:
            return {}
        return _held(self._run("hash", key, timeout_s=HASH_TIMEOUT_S, NAMES="\n".join(sorted(names))))

    def older(self, key: str) -> dict[str, list[Held]]:
        """A directory keeps nothing."""
        return {}

    def proven(self, key: str, versions: Mapping[str, str]) -> dict[str, Held]:
        """Likewise."""
        return {}

    def hidden(self, key: str) -> set[str]:
        """Likewise."""
        return set()

    def read(self, key: str, version: str = "") -> bytes:
        """In base64, for it may be anything."""
        return base64.b64decode(self._run("read", key, timeout_s=LIST_TIMEOUT_S, MOST_BYTES=str(_SMALL_BYTES)))

    def write(self, key: str, content: bytes, *, lasting: bool = True) -> None:
        """Through a temporary file that is on disk before it gets its name."""
        self._run("write", key, timeout_s=LIST_TIMEOUT_S, CONTENT=base64.b64encode(content).decode())

    def remove(self, key: str) -> None:
        """By `rm`."""
        self._run("remove", key, timeout_s=LIST_TIMEOUT_S)

    def drop(self, key: str) -> None:
        """Likewise."""
        self._run("remove", key, timeout_s=LIST_TIMEOUT_S)

    def _run(self, verb: str, key: str, *, timeout_s: float, **more: str) -> str:
        variables = {"VERB": verb, "SITE": self.site.path, "KEY": key, **more}
        ssh = world().connections.ssh(self.site.host, timeout_s=min(timeout_s, PROBE_TIMEOUT_S))
        done = ssh.run(script("site"), {"PGDATA": "/", **variables}, timeout_s=timeout_s)
        if done.code == 0:
            return done.out
        words = (done.err.strip() or f"exit {done.code}").splitlines()[-1]
        where = f"the site {self.name} ({self.site.path} on {self.site.host})"
        if done.code == _OTHER_BYTES:
            raise Refused(f"{where}: {words}", "it is not overwritten: see `recoverd sites`")
        if done.code == _LARGE:
            raise Tampered(f"{where}: {words}", "see what wrote it")
        raise Look(f"{where} could not {verb} {key}: {words}", f"look at {self.site.path} on {self.site.host}")


class Bucket:
    """A bucket that speaks S3. What a plain read does not get any more is looked for among older versions."""

    def __init__(self, site: S3Site) -> None:
        self.site, self.name = site, site.name

    @property
    def s3(self) -> S3:
        """The client of this run."""
        return world().connections.s3(self.site)

    def probe(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> Room:
        """One listing of nothing: it needs the name, the certificate and the credentials to be right."""
        self.s3.listing("recoverd-probe/")
        return Room()

    def listing(self, key: str) -> dict[str, Held]:
        """As a plain read would get them."""
        start = f"{key}/" if key else ""
        return {
            name.removeprefix(start): Held(size=one.size, md5=one.etag) for name, one in self.s3.listing(start).items()
        }

    def read_all(self, key: str) -> dict[str, Held]:
        """Through this machine, for S3 computes no SHA-256 of what it holds."""
        return self.proven(key, dict.fromkeys(self.listing(key), ""))

    def hashes(self, key: str, names: Collection[str]) -> dict[str, Held]:
        """Likewise."""
        return self.proven(key, dict.fromkeys(set(names) & set(self.listing(key)), ""))

    def older(self, key: str) -> dict[str, list[Held]]:
        """The versions behind the newest; all of them where a delete marker is the newest."""
        try:
            found = self.s3.versions(f"{key}/")
        except (NotAllowed, TryAgain, Look):
            return {}
        return {
            name.removeprefix(f"{key}/"): [
                Held(size=one.size, md5=one.etag, version=one.version)
                for one in versions
                if not one.newest and not one.hidden and one.version not in {"", "null"}
            ]
            for name, versions in found.items()
        }

    def proven(self, key: str, versions: Mapping[str, str]) -> dict[str, Held]:
        """Through this machine."""
        s3 = self.s3  # threads do not know the run

        def read(one: tuple[str, str]) -> tuple[str, Held]:
            name, version = one
            size, digest = s3.sha256(f"{key}/{name}", version)
            return name, Held(size=size, sha256=digest, version=version)

        with ThreadPoolExecutor(_READERS) as pool:
            return dict(pool.map(read, versions.items()))

    def hidden(self, key: str) -> set[str]:
        """By a listing of versions."""
        try:
            return self.s3.folders(f"{key}/")
        except (NotAllowed, TryAgain, Look):
            return set()

    def read(self, key: str, version: str = "") -> bytes:
        """The newest version, unless another one is named."""
        return self.s3.read(key, most_bytes=_SMALL_BYTES, version=version)

    def write(self, key: str, content: bytes, *, lasting: bool = True) -> None:
        """With the site's object lock."""
        self.s3.write(key, content, lasting=lasting)

    def remove(self, key: str) -> None:
        """One delete marker an object, where the bucket has versions."""
        for name in self.listing(key):
            self.s3.remove(f"{key}/{name}")

    def drop(self, key: str) -> None:
        """One delete marker, where the bucket has versions."""
        self.s3.remove(key)


def site_of(site: BackupSite) -> Site:
    """The driver of a site."""
    return HostDirectory(site) if isinstance(site, HostSite) else Bucket(site)


def sites_of(service: str) -> Mapping[str, Site]:
    """The sites of a service's backup, by name, in the order of the inventory. Raises Invalid."""
    return {site.name: site_of(site) for site in world().inventory.backup_of(service).sites}


def _held(lines: str) -> dict[str, Held]:
    found = {}
    for line in lines.splitlines():
        size, digest, name = line.split("\t", 2)
        found[name] = Held(size=int(size), sha256="" if digest == "-" else digest)
    return found
