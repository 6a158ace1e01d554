"""Backup sets on the sites: which there are, whether they are whole, sealing a new one and letting old ones go."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from pydantic import Field

from recoverd.backup import keys
from recoverd.backup.compare import File, Health, SetHealth
from recoverd.backup.manifest import Manifest, believe
from recoverd.backup.signing import read_trusted_key
from recoverd.errors import NotAllowed
from recoverd.quarantine import Standing
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.quarantine import sites_apart
from tasks.reading_wal import Archive, read_archive
from tasks.sites import Site, sites_of
from tasks.surveying import Given, Seen, ask_site, choose_believed, judge_site
from tasks.together import together
from tasks.unsigned import Unsigned, compare_unsigned
from tasks.views import Facts


class SiteView(Facts):
    """What was seen of one site.

    Attributes:
        reached: Whether it answered; the rest means nothing otherwise.
        sets: The sets on it whose manifest is believed, the oldest first, with their health there.
        problem: Why it did not answer.
        quarantined: Why it is neither written to nor read from unless it is named; empty when it is not.
    """

    site: str
    reached: bool
    problem: str = ""
    free_bytes: int | None = None
    clock_s: float | None = None
    quarantined: str = ""
    sets: tuple[SetHealth, ...] = ()


class Survey(Facts):
    """All sites of a service's backup, and the manifests that at least one of them gave and that are believed.

    Attributes:
        documents: By set: the files that these manifests and their signatures are.
        wal: The WAL archive; None where it was not read.
        unsigned: Sets that nobody signed for, where everything was read.
    """

    service: str
    sites: tuple[SiteView, ...]
    manifests: tuple[Manifest, ...] = Field(default=())
    documents: dict[str, tuple[File, ...]] = Field(default_factory=dict)
    wal: Archive | None = None
    unsigned: tuple[Unsigned, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = []
        for site in self.sites:
            bad = [one.set for one in site.sets if not one.health.whole]
            rest = f", {len(bad)} of them not whole" if bad else ""
            rest += ", QUARANTINED" if site.quarantined else ""
            words.append(
                f"{site.site}: {len(site.sets)} sets{rest}" if site.reached else f"{site.site}: {site.problem}"
            )
        return "; ".join(words)

    def health(self, site: str, set_name: str) -> Health:
        """The health of a set on a site."""
        view = next(one for one in self.sites if one.site == site)
        if not view.reached:
            return Health.UNREACHABLE
        return next((one.health for one in view.sets if one.set == set_name), Health.ABSENT)


@observe("look at the sites of {service}", time_limit_s=120.0)
def survey_sites(service: str) -> Survey:
    """Ask all sites at once which sets they hold; only sizes are compared, nothing is read but manifests."""
    return survey(service, read=False)


@observe("read every byte on the sites of {service}", time_limit_s=48 * 3600.0)
def read_sites(service: str, only: str = "") -> Survey:
    """Likewise, after reading and hashing each file where it stands; of one set where one is named."""
    return survey(service, read=True, only=only)


def survey(service: str, *, read: bool, only: str = "") -> Survey:
    """Look at the sites; with `read`, every byte of every set and of the WAL is read where it stands.

    Args:
        service: The service.
        read: Whether to read and hash.
        only: One set, without the WAL; empty for all.
    """
    asked = together({name: partial(ask_site, service, site, only) for name, site in sites_of(service).items()})
    believed = _without_old_ones(asked.values(), choose_believed(asked.values()))
    judged = together({
        name: partial(judge_site, service, seen, believed, read=read) for name, seen in asked.items() if not seen.problem
    })  # fmt: skip
    apart = sites_apart(service)
    views = tuple(_view(name, seen, judged.get(name, ()), apart.get(name)) for name, seen in asked.items())
    manifests = tuple(given.manifest for _, given in sorted(believed.items()) if given.manifest is not None)
    documents = {
        name: tuple(File.of(file, content) for file, content in given.good.items()) for name, given in believed.items()
    }
    files = world().inventory.files_of(service) is not None
    wal = read_archive(service) if read and not only and not files else None
    unsigned = compare_unsigned(service, asked, believed) if read and not only else ()
    return Survey(service=service, sites=views, manifests=manifests, documents=documents, wal=wal, unsigned=unsigned)


def _view(name: str, seen: Seen, sets: tuple[SetHealth, ...], apart: Standing | None) -> SiteView:
    why = apart.summary if apart else ""
    if seen.problem:
        return SiteView(site=name, reached=False, problem=seen.problem, quarantined=why)
    return SiteView(
        site=name, reached=True, free_bytes=seen.room.free_bytes, clock_s=seen.room.clock_s, sets=sets, quarantined=why
    )


def _without_old_ones(asked: Iterable[Seen], believed: dict[str, Given]) -> dict[str, Given]:
    """Sets of which only older versions are left count where they are newer than one that is there: others were let go."""
    there = {name for seen in asked for name in seen.listed if keys.MANIFEST in seen.listed[name]}
    oldest = min(there & set(believed), default="")
    return {name: given for name, given in believed.items() if name in there or name > oldest}


def read_manifest(service: str, site: Site, set_name: str) -> Manifest:
    """A set's manifest from a site, proven.

    Raises:
        Tampered: It is not what was signed for that set.
        Look: It is not there.
    """
    document = site.read(keys.set_key(service, set_name, keys.MANIFEST))
    signature = site.read(keys.set_key(service, set_name, keys.SIGNATURE))
    trusted = read_trusted_key(world().inventory.backup_of(service).trusted_key)
    return believe(document, signature, trusted, service, set_name)


def _is_sealed(service: str, set_name: str, site: str, manifest: Manifest) -> Effect | None:
    there = sites_of(service)[site]
    listed = there.listing(keys.set_key(service, set_name))
    if not {keys.MANIFEST, keys.SIGNATURE} <= set(listed):
        return None
    if there.read(keys.set_key(service, set_name, keys.MANIFEST)) != manifest.document():
        return None
    return Effect(f"{set_name} is sealed on {site}", {"site": site, "set": set_name})


@act("seal {set_name} on the site {site}", ask=_is_sealed, time_limit_s=60.0)
def seal(service: str, set_name: str, site: str, manifest: Manifest) -> None:
    """Write the signed manifest beside the parts: from then on the set is one.

    Raises:
        NotAllowed: There is no signing key.
        Refused: Another manifest is there.
    """
    key = world().inventory.backup_of(service).signing_key
    if key is None:
        raise NotAllowed("the inventory names no signing key", "name `signing_key` of the service in backups.yaml")
    there = sites_of(service)[site]
    document, signature = manifest.signed(key.resolve())
    there.write(keys.set_key(service, set_name, keys.SIGNATURE), signature)
    there.write(keys.set_key(service, set_name, keys.MANIFEST), document)  # last: it makes the set a set


def _is_gone(service: str, set_name: str, site: str) -> Effect | None:
    listed = sites_of(service)[site].listing(keys.set_key(service, set_name))
    return None if listed else Effect(f"{set_name} is not on {site} any more", {"site": site, "set": set_name})


@act(
    "let {set_name} go from the site {site}",
    ask=_is_gone,
    irreversible="a set that was let go can be had back only from another site, or from a bucket's older versions",
    time_limit_s=600.0,
)
def let_go(service: str, set_name: str, site: str) -> None:
    """Remove a set that the retention does not keep any more."""
    sites_of(service)[site].remove(keys.set_key(service, set_name))
