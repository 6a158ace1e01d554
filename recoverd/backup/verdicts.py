"""What the state of all files says of a site, and what a set that is whole nowhere is still good for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from recoverd.backup.compare import Health, SetHealth
from recoverd.backup.manifest import Manifest
from recoverd.quarantine import Verdict


class SiteVerdict(BaseModel):
    """A site, judged by every byte on it.

    Attributes:
        evidence: What is wrong, a sentence each.
        against: The sites that hold what was signed where this one does not.
    """

    model_config = ConfigDict(frozen=True)

    site: str
    verdict: Verdict
    evidence: tuple[str, ...] = ()
    against: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line."""
        others = f"; {' and '.join(self.against)} hold what was signed" if self.against else ""
        more = f" and {len(self.evidence) - 1} more" if len(self.evidence) > 1 else ""
        return f"{self.site} is {self.verdict}" + (f": {self.evidence[0]}{more}{others}" if self.evidence else "")


def judge_sites(
    held: Mapping[str, Sequence[SetHealth]], let_go: Mapping[str, Collection[str]]
) -> tuple[SiteVerdict, ...]:
    """Each site that answered, held against the others.

    Tampered is what no fault explains: every part of a set rewritten while the listing stays as it was, a manifest that
    nobody signed, one of another set in its place. Damaged is all else that is not as it was signed.

    Args:
        held: By site: its sets, read.
        let_go: By site: sets that its retention does not keep, and that may be absent there.
    """
    return tuple(_judged(site, sets, held, let_go.get(site, ())) for site, sets in held.items())


def _judged(
    site: str, sets: Sequence[SetHealth], held: Mapping[str, Sequence[SetHealth]], let_go: Collection[str]
) -> SiteVerdict:
    tampered, damaged, doubted = [], [], set()
    for one in sets:
        if one.health is Health.GOOD or (one.health is Health.ABSENT and one.set in let_go):
            continue
        made = [found.evidence for found in one.findings if found.health is Health.TAMPERED]
        if one.rewritten:
            made.insert(0, f"every part of {one.set} was rewritten and the listing left as it was")
        tampered += made
        if one.health is Health.ABSENT:
            damaged.append(f"{one.set} is not there")
        elif not made:
            damaged += [f"{one.set}: {found.evidence}" for found in one.findings] or [
                f"{one.set} is {one.health.value}"
            ]
        doubted.add(one.set)
    if not doubted:
        return SiteVerdict(site=site, verdict="clean")
    against = [
        name
        for name, others in held.items()
        if name != site and any(one.set in doubted and _speaks_against(one, tampering=bool(tampered)) for one in others)
    ]
    return SiteVerdict(
        site=site, verdict="tampered" if tampered else "damaged", evidence=(*tampered, *damaged), against=tuple(against)
    )


def _speaks_against(held: SetHealth, *, tampering: bool) -> bool:
    """Whether a site that holds a set so is a witness: for tampering it may itself be damaged here and there."""
    return held.health is Health.GOOD or (tampering and held.health.usable and not held.rewritten)


def to_quarantine(verdicts: Sequence[SiteVerdict]) -> tuple[SiteVerdict, ...]:
    """Tampered sites against which another site speaks. Where none does, every site is still asked: each byte is proven."""
    clean = {one.site for one in verdicts if one.verdict != "tampered"}
    return tuple(one for one in verdicts if one.verdict == "tampered" and clean & set(one.against))


class Remains(BaseModel):
    """What is left of a set on all sites that answer together.

    Attributes:
        whole_on: Sites that hold it whole.
        lost: Parts that are good nowhere.
        first_bytes: What the parts before the first lost one have, of `bytes`.
    """

    model_config = ConfigDict(frozen=True)

    set: str
    parts: int
    bytes: int
    whole_on: tuple[str, ...]
    lost: tuple[str, ...]
    first_bytes: int

    @property
    def whole(self) -> bool:
        """Whether a restore can put it together."""
        return not self.lost

    @property
    def summary(self) -> str:
        """What it is good for."""
        if self.whole_on:
            return f"{self.set} is whole on {', '.join(self.whole_on)}"
        if self.whole:
            return f"{self.set} is whole on no single site, and a restore puts it together from several"
        lost = ", ".join(self.lost[:3]) + (" …" if len(self.lost) > 3 else "")
        before = int(self.lost[0][5:11]) - 1
        if not before:
            return f"{self.set} is lost with its first part: {lost} good nowhere"
        return (
            f"{self.set} cannot be restored: {lost} good nowhere; parts 1 to {before} of {self.parts} "
            f"({self.first_bytes} of {self.bytes} bytes) can be decrypted and unpacked by hand as far as they go"
        )


def remains(manifest: Manifest, held: Sequence[SetHealth]) -> Remains:
    """What is left of a set.

    Args:
        manifest: Its manifest, believed.
        held: The set on each site that answered, read.
    """
    asked = [one for one in held if one.set == manifest.set and one.health is not Health.UNREACHABLE]
    bad = [_bad_parts(manifest, one) for one in asked]
    lost = [part.name for part in manifest.parts if all(part.name in names for names in bad)]
    first = 0
    for part in manifest.parts:
        if part.name in lost[:1]:
            break
        first += part.size
    return Remains(
        set=manifest.set, parts=len(manifest.parts), bytes=manifest.size, lost=tuple(lost), first_bytes=first,
        whole_on=tuple(one.site for one, names in zip(asked, bad, strict=True) if not names),
    )  # fmt: skip


def _bad_parts(manifest: Manifest, held: SetHealth) -> frozenset[str]:
    return bad_files(held) if held.findings or held.health.whole else frozenset(part.name for part in manifest.parts)


def bad_files(held: SetHealth) -> frozenset[str]:
    """Files of a set that a site does not have good, not even as an older version."""
    return frozenset(one.key for one in held.findings if not one.version)
