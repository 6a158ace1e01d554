"""What the sites hold, held against the signed manifests and against each other. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum
from hashlib import md5, sha256
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from recoverd.backup.manifest import Manifest


class Health(str, Enum):
    """What is the matter with a set, or a part of it, on one site."""

    GOOD = "good"  # every byte was read and is what was signed
    LISTED = "listed"  # everything is there with the right sizes; nobody has read it
    HIDDEN = "hidden"  # good as an older version only: the newest was overwritten, or hidden by a delete marker
    INCOMPLETE = "incomplete"  # something is missing
    DAMAGED = "damaged"  # bytes differ, as a fault of a disk or of a transfer leaves them
    TAMPERED = (
        "tampered"  # it differs in a way that no fault explains: a manifest that nobody signed, all parts rewritten
    )
    ABSENT = "absent"  # the site does not know the set
    UNREACHABLE = "unreachable"  # the site could not be asked

    @property
    def usable(self) -> bool:
        """Whether a restore may read from it; what it reads is verified all the same."""
        return self in {Health.GOOD, Health.LISTED, Health.HIDDEN, Health.INCOMPLETE, Health.DAMAGED}

    @property
    def whole(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self in {Health.GOOD, Health.LISTED}


class Wanted(Protocol):
    """A file as it was signed for: a part of a set, or an entry of the WAL index."""

    @property
    def name(self) -> str:
        """What findings call it."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def sha256(self) -> str:
        """Of those, in hex."""

    @property
    def md5(self) -> str:
        """Likewise; see `Held`."""


class File(BaseModel):
    """A small file as it was signed, or the signature itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: int
    sha256: str
    md5: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """As its bytes are."""
        return cls(
            name=name,
            size=len(content),
            sha256=sha256(content).hexdigest(),
            md5=md5(content, usedforsecurity=False).hexdigest(),
        )


class Held(BaseModel):
    """A file as a site gives it.

    Attributes:
        size: Its bytes.
        sha256: Of what is there; empty when it was only listed.
        md5: What a bucket says of it (ETag), which is not always an MD5: it leads to what is to be read, and proves nothing.
        version: The object's version, where the site has versions and an older one than the newest is the good one.
    """

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str = ""
    md5: str = ""
    version: str = ""


class Finding(BaseModel):
    """What is wrong with one file on one site.

    Attributes:
        key: The file's name in its set, or the WAL file's key below the service.
        version: The older version of it that is good, where there is one.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    health: Health
    evidence: str
    version: str = ""


class SetHealth(BaseModel):
    """A set on one site.

    Attributes:
        rewritten: Every part is there, and none is what was signed: no disk and no transfer does that.
    """

    model_config = ConfigDict(frozen=True)

    site: str
    set: str
    health: Health
    findings: tuple[Finding, ...] = ()
    rewritten: bool = False

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        rest = f" ({len(self.findings)} files: {self.findings[0].evidence}, …)" if self.findings else ""
        return f"{self.set} on {self.site}: {self.health.value}{rest}"

    @property
    def versions(self) -> dict[str, str]:
        """Files that are good as an older version, with that version."""
        return {one.key: one.version for one in self.findings if one.version}


Older = Mapping[str, Sequence[Held]]
"""By file: the versions of it that a plain read does not get, the newest first."""


def judge_set(
    site: str,
    manifest: Manifest,
    held: Mapping[str, Held],
    *,
    read: bool,
    older: Older | None = None,
    documents: Sequence[Finding] = (),
) -> SetHealth:
    """Hold the files of a set on one site against its manifest.

    Args:
        site: The site's name.
        manifest: The set's manifest, believed already.
        held: What the site has, by the file's name in the set.
        read: Whether `held` and `older` have hashes of what was read.
        older: Older versions of the files, where the site has some.
        documents: What is wrong with the manifest and its signature there.
    """
    found = judge_files(manifest.parts, held, read=read, older=older or {})
    there = [held[part.name] for part in manifest.parts if part.name in held]
    wrong = [one for one in found if one.health is Health.DAMAGED]
    rewritten = len(wrong) == len(manifest.parts) > 1 and all(one.size for one in there)
    if not found and not documents:
        health = Health.GOOD if read else Health.LISTED
    else:
        absent = len(found) == len(manifest.parts) and not there
        health = worst([*documents, *found], absent=absent, rewritten=rewritten)
    findings = () if health is Health.ABSENT else (*documents, *found)
    return SetHealth(site=site, set=manifest.set, health=health, findings=findings, rewritten=rewritten)


def judge_files(wanted: Sequence[Wanted], held: Mapping[str, Held], *, read: bool, older: Older) -> tuple[Finding, ...]:
    """What is wrong with each of the files that were signed for; nothing for those that are right."""
    findings = []
    for file in wanted:
        found = held.get(file.name)
        version = next((one.version for one in older.get(file.name, ()) if _fits(file, one, read=read)), "")
        if found is None:
            health, words = Health.INCOMPLETE, f"{file.name} is missing"
        elif found.size != file.size:
            health, words = Health.DAMAGED, f"{file.name} has {found.size} bytes instead of {file.size}"
        elif read and found.sha256 != file.sha256:
            health = Health.DAMAGED
            words = f"{file.name} has SHA-256 {found.sha256[:12]}… instead of {file.sha256[:12]}…"
        elif not read and version and looks_other(file, found):
            health, words = Health.DAMAGED, f"{file.name} was overwritten: its MD5 is {found.md5}"
        else:
            continue
        if version:
            words += "; an older version is what was signed" if read else "; an older version may be what was signed"
        findings.append(Finding(key=file.name, health=health, evidence=words, version=version))
    return tuple(findings)


def looks_other(file: Wanted, found: Held) -> bool:
    """Whether what a bucket says of a file speaks against it. Proves nothing: not every ETag is an MD5."""
    return bool(re.fullmatch("[0-9a-f]{32}", found.md5)) and found.md5 != file.md5


def _fits(file: Wanted, found: Held, *, read: bool) -> bool:
    if found.size != file.size or not found.version:
        return False
    return found.sha256 == file.sha256 if read else not looks_other(file, found)


def worst(findings: Sequence[Finding], *, absent: bool, rewritten: bool) -> Health:
    """Of files that are not as they should be. What an older version can replace is only hidden."""
    left = [one.health for one in findings if not one.version]
    if Health.TAMPERED in left or (rewritten and left):
        return Health.TAMPERED
    if absent and left:
        return Health.ABSENT
    return next((health for health in (Health.DAMAGED, Health.INCOMPLETE) if health in left), Health.HIDDEN)


def odd_one_out(held: Mapping[str, Mapping[str, Held]]) -> dict[str, tuple[str, ...]]:
    """Sites that disagree with at least two others that agree with each other, by file: who is to be doubted without a manifest.

    Args:
        held: By site, by file; with hashes.
    """
    doubted: dict[str, tuple[str, ...]] = {}
    for key in sorted({key for files in held.values() for key in files}):
        by_hash = defaultdict(list)
        for site, files in held.items():
            by_hash[files[key].sha256 if key in files else "missing"].append(site)
        most = max(by_hash.values(), key=len)
        others = tuple(sorted(site for sites in by_hash.values() if sites is not most for site in sites))
        if len(most) >= 2 and others:
            doubted[key] = others
    return doubted
