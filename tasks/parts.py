"""Moving one part between a host and a site. The host does it; the hash is proven where the part arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recoverd.errors import Look, Refused, Tampered, Unreachable
from recoverd.inventory import HostSite
from recoverd.world import world
from tasks.hosts import script
from tasks.passages import backup_scope, passage_name, renew_passage, the_site

_DAMAGED, _MISSING, _OTHER_BYTES = 10, 11, 13
_ADDRESS_VALID_S = 3600
# A link of 1 Mbit/s moves a part of 64 MiB in nine minutes; slower than this, a site is of no use for a restore.
SLOWEST_BYTES_PER_S = 64 * 1024
SHORTEST_LIMIT_S = 30.0


class Sums(Protocol):
    """By what a file is known wherever it arrives: a part of a set, a file of the WAL archive."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """In hex."""

    @property
    def md5(self) -> str:
        """In hex."""


@dataclass(frozen=True)
class Place:
    """A file on a host, and its key on a site.

    Attributes:
        host: The host that moves it.
        file: Its path there.
        key: Below the site; see recoverd/backup/keys.py.
        version: An older version in a bucket; empty for the newest.
        lasting: Whether the lock of a bucket protects it; what is soon replaced needs none.
    """

    host: str
    file: str
    key: str
    version: str = ""
    lasting: bool = True


def put(service: str, site: str, place: Place, part: Sums) -> None:
    """Bring a part from the host to the site.

    Raises:
        Tampered: Something else arrived than was sent.
        Refused: The site has other bytes under that name.
        Unreachable: The site did not take it; it may be tried again.
    """
    _move("put", service, site, place, part, _limit_s(part))


def get(service: str, site: str, place: Place, part: Sums, *, limit_s: float = 0) -> None:
    """Bring a part from the site to the host.

    Raises:
        Tampered: What the site has is not what was signed for.
        Look: The site does not have it.
        Unreachable: The site did not give it in time; another one may.
    """
    _move("get", service, site, place, part, limit_s or _limit_s(part))


def _move(verb: str, service: str, site: str, place: Place, part: Sums, limit_s: float) -> None:
    renew_passage(service, place.host, site)
    variables = {
        "VERB": verb, "FILE": place.file, "KEY": place.key, "SIZE": str(part.size), "SHA256": part.sha256,
        "LIMIT_S": str(int(limit_s)), "TAG": site, "SERVICE": backup_scope(service), "PASSAGE": passage_name(service),
        **_way(verb, service, site, place, part),
    }  # fmt: skip
    done = world().connections.ssh(place.host).run(script("move"), variables, timeout_s=limit_s + 30.0)
    words = (done.err.strip() or f"exit {done.code}").splitlines()[-1]
    if done.code == 0:
        return
    if done.code == _DAMAGED:
        raise Tampered(
            f"{place.key} on {site} is not what was signed for: {words}", f"heal it: recoverd sites heal {service}"
        )
    if done.code == _MISSING:
        raise Look(f"{place.key} is missing on {site}: {words}", f"heal it: recoverd sites heal {service}")
    if done.code == _OTHER_BYTES:
        raise Refused(
            f"{place.key} on {site} was not written: {words}",
            f"see what it is: recoverd sites verify {service}; a heal keeps it aside and puts the good one there",
        )
    raise Unreachable(
        f"{place.host} cannot {verb} {place.key} at {site}: {words}", f"see the network from {place.host}"
    )


def _limit_s(part: Sums) -> float:
    return max(SHORTEST_LIMIT_S, part.size / SLOWEST_BYTES_PER_S)


def _way(verb: str, service: str, name: str, place: Place, part: Sums) -> dict[str, str]:
    here = world()
    empty = dict.fromkeys(("SITE", "TARGET", "PORT", "ADDRESS", "HEADERS", "CA"), "")
    site = the_site(service, name)
    if isinstance(site, HostSite):
        host = here.inventory.host(site.host)
        if site.host == place.host:
            return {**empty, "WAY": "file", "SITE": site.path}
        return {
            **empty,
            "WAY": "ssh",
            "SITE": site.path,
            "TARGET": f"{host.user}@{host.address}",
            "PORT": str(host.port),
        }
    s3 = here.connections.s3(site)
    trusted = site.ca_file.read_text() if site.ca_file else ""
    if verb == "put":
        address, headers = s3.address_to_put(place.key, part.md5, valid_s=_ADDRESS_VALID_S, lasting=place.lasting)
        lines = "\n".join(f"{name}: {value}" for name, value in headers.items())
        return {**empty, "WAY": "url", "ADDRESS": address, "HEADERS": lines, "CA": trusted}
    address = s3.address_to_get(place.key, valid_s=_ADDRESS_VALID_S, version=place.version)
    return {**empty, "WAY": "url", "ADDRESS": address, "CA": trusted}
