"""Places that keep evidence: what is there is never replaced, and is held against its signature when it is read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from recoverd.backup.signing import verify
from recoverd.connections.s3 import S3
from recoverd.errors import Look, Tampered
from recoverd.evidence.manifest import PUBLIC_KEY, Manifest, public_half, sha256_of, signing_key
from recoverd.inventory import Inventory
from recoverd.inventory.evidence import EvidencePlace


def keep(inventory: Inventory, home: Path, manifest: Manifest, archive: Path, signature: bytes) -> tuple[str, ...]:
    """Put a piece of evidence into every place that the inventory names.

    Args:
        inventory: What exists.
        home: recoverd's home: the key is there, and the place where the inventory names none.
        manifest: What it is.
        archive: The packed files.
        signature: Of the manifest.

    Returns:
        Where it is now.

    Raises:
        Refused: Something else is there under its name.
        RecoverdError: A place cannot be written.
    """
    public = public_half(signing_key(home))
    files = {"json": manifest.document(), "json.sig": signature}
    return tuple(_keep(one, home, key_of(manifest), archive, files, public) for one in places(inventory))


def places(inventory: Inventory) -> tuple[EvidencePlace | None, ...]:
    """Where evidence goes; None is recoverd's home."""
    return tuple(inventory.evidence.values()) or (None,)


def key_of(manifest: Manifest) -> str:
    """What the files of a piece of evidence are called, without their ending."""
    return f"{manifest.run}/{manifest.host}/{manifest.moment}"


def directory_of(place: EvidencePlace | None, home: Path) -> Path:
    """The directory of a place that is one."""
    return (place.directory if place is not None else None) or home / "evidence"


def find(inventory: Inventory, home: Path, run: str = "") -> Iterator[tuple[str, str]]:
    """Every piece of evidence, or those of one run: name of the place, and its key."""
    for place in places(inventory):
        if place is not None and place.bucket is not None:
            store = S3(place.site)
            keys = [key for key in store.listing(f"{run}/" if run else "") if key.endswith(".json")]
            store.close()
        else:
            root = directory_of(place, home)
            keys = [str(path.relative_to(root)) for path in sorted(root.glob(f"{run or '*'}/*/*.json"))]
        yield from ((place.name if place else "home", key.removesuffix(".json")) for key in sorted(keys))


def check(inventory: Inventory, home: Path, place_name: str, key: str) -> Manifest:
    """Hold a piece of evidence against its hash, and its manifest against the signature.

    Raises:
        Tampered: One of them does not fit.
        Look: A part of it is not there.
    """
    place = inventory.evidence.get(place_name)
    public = public_half(signing_key(home))
    if place is not None and place.bucket is not None:
        store = S3(place.site)
        try:
            document = store.read(f"{key}.json", most_bytes=1 << 24)
            verify(document, store.read(f"{key}.json.sig", most_bytes=64), public, f"{key}.json")
            size, digest = store.sha256(f"{key}.tar.gz")
        finally:
            store.close()
    else:
        root = directory_of(place, home)
        try:
            document = (root / f"{key}.json").read_bytes()
            verify(document, (root / f"{key}.json.sig").read_bytes(), public, f"{key}.json")
            archive = root / f"{key}.tar.gz"
            size, digest = archive.stat().st_size, sha256_of(archive)
        except OSError as error:
            raise Look(f"{key} in {root} cannot be read: {error.strerror}", "see who took it away") from error
    manifest = Manifest.model_validate(json.loads(document))
    if (size, digest) != (manifest.size, manifest.sha256) or key_of(manifest) != key:
        raise Tampered(
            f"{key}.tar.gz is not what was signed", "somebody has changed it: take the copy of another place"
        )
    return manifest


def _keep(
    place: EvidencePlace | None, home: Path, key: str, archive: Path, files: dict[str, bytes], public: str
) -> str:
    if place is not None and place.bucket is not None:
        store = S3(place.site)
        try:
            store.write(f"{key}.tar.gz", archive.read_bytes())
            for ending, content in files.items():
                store.write(f"{key}.{ending}", content)
            store.write(PUBLIC_KEY, public.encode())
        finally:
            store.close()
        return f"s3://{place.bucket}/{place.site.prefix + '/' if place.prefix else ''}{key}"
    root = directory_of(place, home)
    try:
        (root / key).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _place(root / f"{key}.tar.gz", archive)
        for ending, content in files.items():
            _write(root / f"{key}.{ending}", content)
        if not (root / PUBLIC_KEY).exists():
            _write(root / PUBLIC_KEY, public.encode())
    except OSError as error:
        raise Look(f"evidence cannot be kept in {root}: {error.strerror}", "free space there, then resume") from error
    return str(root / key)


def _place(path: Path, source: Path) -> None:
    part = path.with_name(path.name + ".part")
    shutil.copyfile(source, part)
    _settle(part, path)


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    _settle(part, path)


def _settle(part: Path, path: Path) -> None:
    """To the disk, for reading alone, and only then under its name."""
    part.chmod(0o400)
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
