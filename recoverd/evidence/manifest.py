"""What a piece of evidence is: signed, and held against its archive."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field

from recoverd.errors import Look, Tampered

SUMS, LOOKS = "SHA256SUMS", "looks"
KEY, PUBLIC_KEY = "evidence-signing.pem", "signing.pub.pem"
_CHUNK_BYTES = 1 << 20


class Manifest(BaseModel):
    """What is signed.

    Attributes:
        moment: Whether it was taken `before` anything was done to the host, or `after`.
        began_at, ended_at: By the controller's clock.
        size: Of the archive, in bytes.
        sha256: Of the archive.
        files: SHA-256 by file in it, in the order of volatility.
        incomplete: Looks that came to no end, or had nothing to ask.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    host: str
    moment: str
    reason: str
    began_at: datetime
    ended_at: datetime
    size: int
    sha256: str
    files: Mapping[str, str] = Field(default_factory=dict)
    incomplete: tuple[str, ...] = ()

    def document(self) -> bytes:
        """As it is signed and stored."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def sha256_of(path: Path) -> str:
    """Hash of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def read_archive(path: Path, host: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The files of an archive with their hashes, each held against the host's own list, and the looks that fell short.

    Raises:
        Look: It is no whole archive: the host broke off.
        Tampered: A file is not what the host said it was.
    """
    found: dict[str, str] = {}
    texts: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is None:
                    continue
                digest = hashlib.sha256()
                kept = b""
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    kept = kept + chunk if member.name in {SUMS, LOOKS} else b""
                found[member.name] = digest.hexdigest()
                texts[member.name] = kept.decode(errors="replace")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Look(f"the evidence of {host} is not whole: {error}", "take it again: recoverd resume …") from error
    pairs = (line.partition("  ") for line in texts.get(SUMS, "").splitlines())
    said = {name: digest for digest, _, name in pairs if name}
    found.pop(SUMS, None)
    if not said or {name: found.get(name) for name in said} != said or set(found) != set(said):
        raise Tampered(f"the evidence of {host} is not what it said it sends", "take it again: recoverd resume …")
    short = tuple(line for line in texts.get(LOOKS, "").splitlines() if " exit=0 " not in line)
    return {name: found[name] for name in sorted(found) if name != LOOKS}, short


def signing_key(home: Path) -> str:
    """The private key that evidence is signed with, made once in recoverd's home."""
    path = home / KEY
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{KEY}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)  # whoever comes second takes the first one's
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_text()


def public_half(private_pem: str) -> str:
    """The public half of a key."""
    key = load_pem_private_key(private_pem.encode(), password=None)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
