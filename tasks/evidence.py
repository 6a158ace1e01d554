"""Saved files: fetched from hosts, kept on the controller with their SHA-256, and named in the journal."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
from pathlib import Path

from recoverd.errors import Look, Tampered
from recoverd.inventory import Service
from recoverd.settings import settings
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_script
from tasks.salvage import Loss, segments, wal_facts

PART_MIB = 4
PART_TIMEOUT_S = 60.0
SAVE_TIME_LIMIT_S = 1800.0
SUMS = "SHA256SUMS"
_SPARE_BYTES = 64 << 20


def directory_of(service: str, host: str) -> Path:
    """Where this run keeps what it saved of a host: `salvage/<service>/<run>/<host>` below recoverd's home."""
    return settings().home / "salvage" / service / world().run.id / host


def _is_saved(service: str, host: str, loss: Loss) -> Effect | None:
    place = directory_of(service, host)
    sums = read_sums(place)
    if not any(name.startswith("wal/") for name in sums):
        return None
    check_sums(place)
    words = f"{loss.bytes} bytes of WAL that {host} had not sent are saved in {place}"
    return Effect(
        words, {"directory": str(place), "sha256": sums, "bytes": loss.bytes, "transactions": loss.transactions}
    )


@act("save the WAL that {host} had not sent", ask=_is_saved, time_limit_s=SAVE_TIME_LIMIT_S)
def save_wal(service: str, host: str, loss: Loss) -> None:
    """Copy the WAL files of a loss to a directory of their own on the host, and from there to the controller.

    Raises:
        Look: There is no room for them, or one of them is gone.
    """
    wanted = world().inventory.service(service)
    facts = wal_facts(wanted, host)
    names = segments(facts, loss)
    need_bytes = len(names) * facts.segment_bytes + _SPARE_BYTES
    variables = {"SEGMENTS": " ".join(names), "NEED_KB": str(need_bytes // 1024)}
    said = run_script("save_wal", wanted, host, variables, timeout_s=SAVE_TIME_LIMIT_S / 4).facts()
    if missing := [key.partition(":")[2] for key in said if key.startswith("missing:")]:
        raise Look(f"{host} no longer has {', '.join(missing)}", f"look for it in the WAL archive of {service}")
    place = directory_of(service, host)
    for name in names:
        fetch(wanted, host, f"{said['directory']}/wal/{name}", place / "wal" / name, said[f"sha256:{name}"])
    write_sums(place)
    note_evidence(service, host, f"WAL of {host} that did not reach the new primary", place)


def fetch(service: Service, host: str, path: str, into: Path, sha256: str = "") -> None:
    """Copy a file of a host here, a part at a time, and hold it against its SHA-256 where that is known.

    Raises:
        Tampered: It is not the same file.
    """
    into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, digest = into.with_name(into.name + ".part"), hashlib.sha256()
    with open(part, "wb", opener=_private) as file:
        for number in range(1 << 20):
            chunk = _read_part(service, host, path, number)
            digest.update(chunk)
            file.write(chunk)
            if len(chunk) < PART_MIB << 20:
                break
        os.fsync(file.fileno())
    if sha256 and digest.hexdigest() != sha256:
        raise Tampered(
            f"{path} of {host} changed on its way here", "run it again; if it happens again, look at the disks"
        )
    part.replace(into)


def _read_part(service: Service, host: str, path: str, number: int) -> bytes:
    variables = {"FILE": path, "SKIP": str(number * PART_MIB), "COUNT": str(PART_MIB)}
    done = run_script("read_part", service, host, variables, timeout_s=PART_TIMEOUT_S)
    return gzip.decompress(base64.b64decode(done.out.strip()))


def write_sums(place: Path) -> dict[str, str]:
    """Write `SHA256SUMS` over all files of a directory, in the form that `sha256sum -c` reads."""
    paths = sorted(path for path in place.rglob("*") if path.is_file() and path.name != SUMS and path.suffix != ".part")
    sums = {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    write_file(place / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def read_sums(place: Path) -> dict[str, str]:
    """The files of a directory and their SHA-256; empty when it has no `SHA256SUMS`."""
    if not (place / SUMS).exists():
        return {}
    pairs = (line.partition("  ") for line in (place / SUMS).read_text().splitlines())
    return {name: digest for digest, _, name in pairs}


def check_sums(place: Path) -> None:
    """Hold every file against `SHA256SUMS`.

    Raises:
        Tampered: One is missing or not the same.
    """
    for name, digest in read_sums(place).items():
        path = place / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise Tampered(
                f"{path} is not what was saved", f"compare it with the copy on the host, then see {place / SUMS}"
            )


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all, and to the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "w", opener=_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _private(path: str, flags: int) -> int:
    """What is saved are users' rows: they are for nobody else on this machine."""
    return os.open(path, flags, 0o600)


def note_evidence(service: str, host: str, what: str, place: Path) -> None:
    """Name stored evidence in the journal, with the hash of its list of hashes."""
    here = world()
    if here.journal is None:
        return
    sums = (place / SUMS).read_bytes()
    body = {"service": service, "host": host, "what": what, "directory": str(place), "files": len(sums.splitlines())}
    here.journal.append(
        "evidence.stored", who="recoverd", run=here.run.id, body={**body, SUMS: hashlib.sha256(sums).hexdigest()}
    )
