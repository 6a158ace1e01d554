"""Decisions of a heal: what is good where, what is copied from where to where, and what is lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from recoverd.backup import keys
from recoverd.backup.compare import Health, SetHealth, Wanted
from recoverd.backup.retention import wanted
from recoverd.backup.verdicts import Remains, SiteVerdict, bad_files, judge_sites, remains, to_quarantine
from recoverd.inventory import Backup, HostSite
from recoverd.step import decide
from tasks.healing import Mend, Mending, Source
from tasks.reading_wal import GROUP as WAL
from tasks.sets import SiteView, Survey
from tasks.views import Facts

_SPARE_BYTES = 64 << 20


class Judgement(Facts):
    """What reading every byte said.

    Attributes:
        verdicts: Of each site that answered.
        quarantine: Sites that nobody reads from or writes to from now on.
        remains: Of each set, what all sites together have.
        unsigned: Sets of which no site gives a manifest that is believed, though some site gives one.
        left: Of sets that nobody signed for, what the sites hold alike.
        away: Sites that did not answer.
    """

    verdicts: tuple[SiteVerdict, ...]
    quarantine: tuple[SiteVerdict, ...]
    remains: tuple[Remains, ...]
    unsigned: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    away: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether all sites answered, and hold what was signed."""
        return not self.away and not self.unsigned and all(one.verdict == "clean" for one in self.verdicts)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = [one.summary for one in self.verdicts if one.verdict != "clean"]
        words += [f"{name} did not answer" for name in self.away]
        words += [one.summary for one in self.remains if not one.whole]
        words += [f"nobody signed {name} in the form that the sites give" for name in self.unsigned]
        words += self.left
        return "; ".join(words) or f"{', '.join(one.site for one in self.verdicts)}: every byte is as it was signed"


def judge_survey(survey: Survey, backup: Backup, now: datetime) -> Judgement:
    """Three-way: each site against the signatures, and against what the others hold."""
    believed = {one.set for one in survey.manifests}
    wal = {one.site: one for one in survey.wal.sites} if survey.wal else {}
    held = {
        site.site: (*site.sets, *([wal[site.site]] if site.site in wal else []))
        for site in survey.sites
        if site.reached
    }
    let_go = {site.name: believed - wanted(believed, site.retention or backup.retention, now) for site in backup.sites}
    verdicts = judge_sites(held, let_go)
    seen = {one.set for site in survey.sites if site.reached for one in site.sets}
    return Judgement(
        verdicts=verdicts,
        quarantine=to_quarantine(verdicts),
        remains=tuple(remains(one, _everywhere(survey, one.set)) for one in survey.manifests),
        unsigned=tuple(sorted(seen - believed)),
        left=tuple(one.summary for one in survey.unsigned),
        away=tuple(site.site for site in survey.sites if not site.reached),
    )


def _everywhere(survey: Survey, set_name: str) -> list[SetHealth]:
    return [one for site in survey.sites if site.reached for one in site.sets if one.set == set_name]


class HealPlan(Facts):
    """What a heal does.

    Attributes:
        mendings: What is made good, of one set or of the WAL on one site each.
        aside: What nobody signed and takes no other file's place: site and key below the service.
        lost: Files that are good nowhere, by site.
        left_out: What is not done, with the reason.
    """

    mendings: tuple[Mending, ...]
    aside: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = [f"{len(one.all)} files of {one.group} on {one.site}" for one in self.mendings]
        words += [f"{key} on {site} aside" for site, key in self.aside]
        words += [*self.left_out, *([f"{len(self.lost)} files are good nowhere"] if self.lost else [])]
        return "; ".join(words) or "nothing is to be healed"


@decide("choose what is healed, and from where")
def choose_mendings(service: str, survey: Survey, backup: Backup, now: datetime, only: str) -> HealPlan:
    """The answer is kept when the run is resumed: each file is proven again where it arrives."""
    return plan_heal(survey, backup, now, only)


@dataclass(frozen=True)
class _Group:
    """A set, or the WAL archive.

    Attributes:
        key: Its directory below a site.
        held: What each site that answered has of it.
        lacking: Files that a site does not have and need not have.
    """

    name: str
    key: str
    files: Sequence[Wanted]
    documents: Sequence[Wanted]
    held: Mapping[str, SetHealth]
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict)


def plan_heal(survey: Survey, backup: Backup, now: datetime, only: str = "") -> HealPlan:
    """Each file that is bad or missing on a site, from the best of those that were just read and are good.

    Args:
        survey: What every byte said.
        backup: The service's backup.
        now: For the retention: a set that was let go from a site is not brought back to it.
        only: Heal this site alone; empty for all.
    """
    judged, groups, sets = judge_survey(survey, backup, now), _groups(survey), {one.set for one in survey.manifests}
    doubted = {one.site for one in judged.verdicts if one.verdict == "tampered"}
    ranks = {
        site.name: (site.name in doubted or bool(view.quarantined), not isinstance(site, HostSite))
        for site, view in zip(backup.sites, survey.sites, strict=True)
    }
    mendings, lost, left_out, aside = [], [], [], []
    for site, view in zip(backup.sites, survey.sites, strict=True):
        if not view.reached or only not in {"", view.site}:
            continue
        kept, found = wanted(sets, site.retention or backup.retention, now), []
        for group in groups:
            held = group.held.get(view.site)
            if held is None or (held.health is Health.ABSENT and group.name not in kept):
                continue
            mending, nowhere = _mending(group, held, ranks)
            found += [mending] if mending.all else []
            lost += [f"{group.name}/{name} on {view.site}" for name in nowhere]
            aside += [(view.site, f"{group.key}/{name}") for name in _made_up(group, held)]
        aside += [
            (view.site, keys.set_key(survey.service, name))
            for name in judged.unsigned
            if _is_only_its_own(survey, view, name)
        ]
        room = _room_needed(view, sum(one.size for one in found), isinstance(site, HostSite))
        mendings += [] if room else found
        left_out += [room] if room else []
    return HealPlan(mendings=tuple(mendings), aside=tuple(aside), lost=tuple(lost), left_out=tuple(left_out))


def _groups(survey: Survey) -> list[_Group]:
    groups = []
    for manifest in survey.manifests:
        documents = sorted(survey.documents.get(manifest.set, ()), key=lambda one: one.name, reverse=True)
        held = {one.site: one for one in _everywhere(survey, manifest.set)}
        groups.append(_Group(manifest.set, keys.set_key(survey.service, manifest.set), manifest.parts, documents, held))
    if survey.wal is not None:
        key, held = keys.archive_dir(survey.service), {one.site: one for one in survey.wal.sites}
        documents = sorted(survey.wal.documents, key=lambda one: one.name.endswith(".json"))
        groups.append(_Group(WAL, key, survey.wal.files, documents, held, survey.wal.lacking))
    return groups


def _mending(group: _Group, held: SetHealth, ranks: Mapping[str, tuple[bool, bool]]) -> tuple[Mending, list[str]]:
    """What can be made good of a group on a site, and the names of files that are good nowhere."""
    was = {one.key: one for one in held.findings}

    def mend(file: Wanted) -> Mend:
        return Mend(
            key=f"{group.key}/{file.name}", size=file.size, sha256=file.sha256, md5=file.md5,
            was=was[file.name].health if file.name in was else Health.INCOMPLETE,
            version=held.versions.get(file.name, ""), sources=_sources(group, file.name, held.site, ranks),
        )  # fmt: skip

    def bad(files: Sequence[Wanted]) -> list[Mend]:
        return [mend(one) for one in files if held.health is Health.ABSENT or one.name in was]

    def possible(files: Sequence[Mend]) -> tuple[Mend, ...]:
        return tuple(one for one in files if one.sources or one.version)

    files, documents = bad(group.files), bad(group.documents)
    nowhere = [one.name for one in (*files, *documents) if not one.sources and not one.version]
    mending = Mending(
        site=held.site, group=group.name, files=possible(files), documents=possible(documents),
    )  # fmt: skip
    return mending, nowhere


def _sources(group: _Group, name: str, site: str, ranks: Mapping[str, tuple[bool, bool]]) -> tuple[Source, ...]:
    """Sites on which the file was read and is good; those first that are not doubted, then directories before buckets."""
    found = [
        Source(site=other, version=held.versions.get(name, ""), doubted=ranks[other][0])
        for other, held in group.held.items()
        if other != site
        and held.health not in {Health.ABSENT, Health.UNREACHABLE}
        and name not in bad_files(held)
        and name not in group.lacking.get(other, ())
    ]
    return tuple(sorted(found, key=lambda one: ranks[one.site]))


def _made_up(group: _Group, held: SetHealth) -> list[str]:
    """Pages of the WAL index that nobody signed and that stand in no other's place."""
    known = {one.name for one in (*group.files, *group.documents)}
    return [
        one.key for one in held.findings if group.name == WAL and one.key.startswith("index/") and one.key not in known
    ]


def _room_needed(view: SiteView, size: int, is_host: bool) -> str:
    """Good files come beside the bad ones, which stay as evidence."""
    if not size or not is_host or view.free_bytes is None or view.free_bytes >= size + _SPARE_BYTES:
        return ""
    return f"{view.site} has {view.free_bytes >> 20} MiB free, and {(size + _SPARE_BYTES) >> 20} are needed to heal it"


def _is_only_its_own(survey: Survey, view: SiteView, name: str) -> bool:
    """A set that one site gives, which others that answer do not know, and of which nobody signed anything."""
    others = [one for one in survey.sites if one.site != view.site and one.reached]
    mine = next((one for one in view.sets if one.set == name), None)
    if mine is None or mine.health is not Health.TAMPERED or not others or not survey.manifests:
        return False
    return not any(one.set == name for other in others for one in other.sets)
