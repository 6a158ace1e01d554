"""The evidence of a host is taken: one script, streamed, hashed, signed, and put into every place that keeps evidence."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from recoverd.backup.signing import sign
from recoverd.connections.ssh_stream import stream
from recoverd.errors import RecoverdError, Tampered
from recoverd.evidence.manifest import Manifest, read_archive, signing_key
from recoverd.evidence.store import check, find, keep, places
from recoverd.settings import settings
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import script

LOOK_LIMIT_S = 10
MOST_KB = 4096
"""Of one look, unpacked."""
TIME_LIMIT_S = 120.0
MOST_BYTES = 128 << 20


def _is_taken(host: str, moment: str) -> Effect | None:
    here, home = world(), settings().home
    if here.dry_run:
        return None
    key = f"{here.run.id}/{host}/{moment}"
    names = [place for place, found in find(here.inventory, home, here.run.id) if found == key]
    if len(names) < len(places(here.inventory)):
        return None
    try:
        manifest = [check(here.inventory, home, name, key) for name in names][0]  # noqa: RUF015 - all are checked
    except Tampered:
        raise
    except RecoverdError:
        return None
    words = f"{len(manifest.files)} files of {host}, {manifest.size} bytes, are kept in {', '.join(names)}: {key}"
    return Effect(
        words,
        {"key": key, "places": names, "files": len(manifest.files), "bytes": manifest.size, "sha256": manifest.sha256,
         "incomplete": list(manifest.incomplete)},
    )  # fmt: skip


@act("take the evidence of {host} ({moment})", ask=_is_taken, time_limit_s=TIME_LIMIT_S)
def collect(host: str, moment: str) -> None:
    """Take what vanishes first: processes, connections, logins, then files and logs. Nothing on the host is changed.

    Args:
        host: Where.
        moment: `before` or `after` it is cut off, or for a `diagnosis`.

    Raises:
        Look: It came only in part, or cannot be kept.
        Tampered: It is not what the host said it sends.
    """
    here, home = world(), settings().home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    began = datetime.now(timezone.utc)
    with TemporaryDirectory(dir=home, prefix=".evidence-") as directory:
        archive = Path(directory) / "evidence.tar.gz"
        size, digest = _fetch(host, archive)
        files, short = read_archive(archive, host)
        manifest = Manifest(
            run=here.run.id, host=host, moment=moment, reason=here.run.reason, began_at=began,
            ended_at=datetime.now(timezone.utc), size=size, sha256=digest, files=files, incomplete=short,
        )  # fmt: skip
        where = keep(here.inventory, home, manifest, archive, sign(manifest.document(), signing_key(home)))
    if here.journal is not None:
        body = {
            "what": f"volatile evidence of {host}{_when(moment)}", "host": host, "directory": where[0],
            "places": where, "files": len(files), "sha256": hashlib.sha256(manifest.document()).hexdigest(),
        }  # fmt: skip
        here.journal.append("evidence.stored", who="recoverd", run=here.run.id, body=body)


def _when(moment: str) -> str:
    return f", {moment} it was cut off" if moment in {"before", "after"} else ""


def _fetch(host: str, into: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    given = {"LIMIT_S": str(LOOK_LIMIT_S), "MOST_KB": str(MOST_KB)}
    with open(into, "wb") as file:

        def sink(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        size = stream(
            world().connections.ssh(host), script("masked+evidence"), {"SERVICE": "host", "PGDATA": "/nonexistent", **given},
            sink, timeout_s=TIME_LIMIT_S * 0.9, most_bytes=MOST_BYTES,
        )  # fmt: skip
    return size, digest.hexdigest()
