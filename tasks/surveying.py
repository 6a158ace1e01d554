"""What one site holds of a backup: the manifests that it gives, and its files held against what was signed.

A survey has two rounds. In the first each site is asked what it has; then it is known which manifests are believed, wherever
they came from; in the second each site's files are held against those. So a site whose own manifest is missing or forged is
judged too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

from pydantic import ValidationError

from recoverd.backup import keys
from recoverd.backup.compare import Finding, Health, Held, Older, SetHealth, judge_set, looks_other
from recoverd.backup.manifest import Manifest, Part, believe
from recoverd.backup.signing import read_trusted_key
from recoverd.errors import Look, RecoverdError, Refused, Tampered, TryAgain
from recoverd.world import world
from tasks.sites import Room, Site

_MOST_VERSIONS = 8
DOCUMENTS = (keys.MANIFEST, keys.SIGNATURE)


@dataclass
class Given:
    """The manifest of a set as a site gives it.

    Attributes:
        files: The document and its signature as a plain read gets them, by name, as far as they are there.
        good: Likewise, but those that belong together and are believed; empty where none are.
        versions: Older versions that these were taken from.
        manifest: What they say.
        problem: Why what a plain read gets is not believed.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    good: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    manifest: Manifest | None = None
    problem: RecoverdError | None = None


@dataclass
class Seen:
    """What a site answered in the first round.

    Attributes:
        problem: Why it did not answer; empty when it did.
        listed: By set: its files, with sizes.
        given: By set: its manifest.
    """

    site: Site
    room: Room = field(default_factory=Room)
    problem: str = ""
    listed: dict[str, dict[str, Held]] = field(default_factory=dict)
    given: dict[str, Given] = field(default_factory=dict)


def ask_site(service: str, site: Site, only: str) -> Seen:
    """The first round. A site that does not answer is a value."""
    seen = Seen(site)
    try:
        seen.room = site.probe()
        for path, held in site.listing(keys.set_key(service, only) if only else keys.sets_key(service)).items():
            name, _, file = (f"{only}/{path}" if only else path).partition("/")
            if keys.SET_ID.match(name) and file:
                seen.listed.setdefault(name, {})[file] = held
        for name, files in seen.listed.items():
            if set(DOCUMENTS) & set(files):
                seen.given[name] = _given(service, site, name)
        for name in _hidden_sets(service, site, seen, only):
            if (found := _older_pair(service, site, name)) is not None:
                found.files = {file: content for file, content in found.good.items() if file not in found.versions}
                seen.given[name] = found
    except (TryAgain, Refused, Tampered, Look) as error:
        return Seen(site, problem=error.message)
    return seen


def _hidden_sets(service: str, site: Site, seen: Seen, only: str) -> list[str]:
    names = site.hidden(keys.sets_key(service)) - set(seen.given)
    return sorted(name for name in names if keys.SET_ID.match(name) and only in {"", name})


def _given(service: str, site: Site, name: str) -> Given:
    found = Given()
    for file in DOCUMENTS:
        try:
            found.files[file] = site.read(keys.set_key(service, name, file))
        except (Look, Tampered) as error:
            found.problem = error
    if found.problem is None:
        try:
            found.manifest = _believed(service, name, *(found.files[file] for file in DOCUMENTS))
            found.good = dict(found.files)
        except Tampered as error:
            found.problem = error
    if found.manifest is None and (older := _older_pair(service, site, name)) is not None:
        found.manifest, found.good, found.versions = older.manifest, older.good, older.versions
    return found


def _older_pair(service: str, site: Site, name: str) -> Given | None:
    """A manifest and a signature that belong together, among all their versions."""
    older = site.older(keys.set_key(service, name))
    if not any(older.get(file) for file in DOCUMENTS):
        return None
    pairs = product(*(_contents(service, site, name, file, older.get(file, ())) for file in DOCUMENTS))
    for (version, document), (of_signature, signature) in pairs:
        try:
            manifest = _believed(service, name, document, signature)
        except Tampered:
            continue
        versions = dict(zip(DOCUMENTS, (version, of_signature), strict=True))
        good = dict(zip(DOCUMENTS, (document, signature), strict=True))
        return Given({}, good, {file: one for file, one in versions.items() if one}, manifest)
    return None


def _contents(service: str, site: Site, name: str, file: str, older: Sequence[Held]) -> list[tuple[str, bytes]]:
    found = []
    for version in ["", *(one.version for one in older[:_MOST_VERSIONS])]:
        with suppress(Look, Tampered):
            found.append((version, site.read(keys.set_key(service, name, file), version)))
    return found


def _believed(service: str, name: str, document: bytes, signature: bytes) -> Manifest:
    trusted = read_trusted_key(world().inventory.backup_of(service).trusted_key)
    return believe(document, signature, trusted, service, name)


def choose_believed(seen: Iterable[Seen]) -> dict[str, Given]:
    """Of each set the manifest that counts: believed, and where two differ, the one that more sites give."""
    found: dict[str, list[Given]] = {}
    for site in seen:
        for name, given in site.given.items():
            if given.manifest is not None:
                found.setdefault(name, []).append(given)
    return {
        name: max(many, key=lambda one: sum(other.good == one.good for other in many)) for name, many in found.items()
    }


def judge_site(service: str, seen: Seen, believed: Mapping[str, Given], *, read: bool) -> tuple[SetHealth, ...]:
    """The second round: every set that is believed or that the site gives, the oldest first.

    One without a manifest anywhere is being made, or was never finished: it is none.
    """
    mine = {name for name, given in seen.given.items() if keys.MANIFEST in given.files}
    return tuple(_judged(service, seen, name, believed.get(name), read=read) for name in sorted(mine | set(believed)))


def _judged(service: str, seen: Seen, name: str, believed: Given | None, *, read: bool) -> SetHealth:
    documents = _doubts(seen.given.get(name, Given()), believed)
    if believed is None or believed.manifest is None:
        health = documents[0].health if documents else Health.INCOMPLETE
        return SetHealth(site=seen.site.name, set=name, health=health, findings=documents)
    key = keys.set_key(service, name)
    try:
        held = seen.site.read_all(key) if read and name in seen.listed else seen.listed.get(name, {})
        older = _older(seen.site, key, believed.manifest.parts, held, read=read)
    except (Look, TryAgain, Refused) as error:
        finding = Finding(key=keys.MANIFEST, health=Health.UNREACHABLE, evidence=error.message)
        return SetHealth(site=seen.site.name, set=name, health=Health.UNREACHABLE, findings=(finding,))
    return judge_set(seen.site.name, believed.manifest, held, read=read, older=older, documents=documents)


def _older(site: Site, key: str, parts: Sequence[Part], held: Mapping[str, Held], *, read: bool) -> Older:
    """Older versions of what is not right, read where that is asked for."""
    wrong = [part for part in parts if not _looks_right(part, held.get(part.name))]
    found = site.older(key) if wrong else {}
    fitting = {
        part.name: [one for one in found.get(part.name, ()) if one.size == part.size and not looks_other(part, one)]
        for part in wrong
    }
    first = {name: versions[0].version for name, versions in fitting.items() if versions}
    return {name: [one] for name, one in site.proven(key, first).items()} if read and first else fitting


def versions_to_read(service: str, site: Site, set_name: str, parts: Sequence[Part]) -> dict[str, str]:
    """Parts of which a plain read of a site would not get what was signed, with the older version to read instead.

    By what the site lists: each is proven where it arrives.
    """
    key = keys.set_key(service, set_name)
    try:
        older = _older(site, key, parts, site.listing(key), read=False)
    except (Look, TryAgain, Refused):
        return {}
    return {name: versions[0].version for name, versions in older.items() if versions}


def _looks_right(part: Part, found: Held | None) -> bool:
    if found is None or found.size != part.size or looks_other(part, found):
        return False
    return found.sha256 in {"", part.sha256}


def _doubts(given: Given, believed: Given | None) -> tuple[Finding, ...]:
    """What is wrong with a set's manifest and signature on a site.

    A fault explains bytes that are no manifest. One that reads as a manifest, and was not signed as that, was made by somebody.
    """
    made = believed is None or given.files.get(keys.MANIFEST) != believed.good[keys.MANIFEST]
    made = made and _reads(given.files.get(keys.MANIFEST))
    words = (
        given.problem.message if given.problem is not None else "it is signed, but not the one that other sites hold"
    )
    findings = []
    for file in DOCUMENTS:
        content, version = given.files.get(file), given.versions.get(file, "")
        if content is None:
            finding = Finding(key=file, health=Health.INCOMPLETE, evidence=f"{file} is missing", version=version)
        elif believed is not None and content == believed.good[file]:
            continue
        elif made:
            finding = Finding(key=file, health=Health.TAMPERED, evidence=words, version=version)
        else:
            what = f"{file} is damaged: {len(content)} bytes that nobody signed"
            finding = Finding(key=file, health=Health.DAMAGED, evidence=what, version=version)
        findings.append(finding)
    return tuple(findings)


def _reads(document: bytes | None) -> bool:
    """Whether it is a manifest in form."""
    try:
        return bool(Manifest.model_validate_json(document or b""))
    except ValidationError:
        return False
