"""WAL for a recovery to a moment: fetched from several sites at once, proven, decrypted on the host that restores."""

from __future__ import annotations

import time
from collections.abc import Collection

from recoverd.backup import keys
from recoverd.backup.chains import Chain, Shelf, Stored
from recoverd.connections import Completed
from recoverd.errors import Look, NotAllowed, TimedOut
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.fetching import Fetch
from tasks.hosts import run_on
from tasks.passages import backup_scope
from tasks.restoring import STALL_S, UNPACK_TIME_LIMIT_S, note_bad, server_of, work_dir

_LOOK_EVERY_S = 0.2


def wal_files(chain: Chain, shelf: Shelf, sites: Collection[str]) -> tuple[Stored, ...]:
    """All that is fetched: the history of the timeline that is followed, and those of the others as far as the sites have them."""
    histories = [
        one
        for one in shelf.files.values()
        if one.name.endswith(".history")
        and one.entry
        and (set(one.sites) & set(sites) or one.name == history_of(chain.timeline))
    ]
    return (*sorted(histories, key=lambda one: one.name), *chain.files)


def used_numbers(chain: Chain, shelf: Shelf, sites: Collection[str]) -> tuple[str, ...]:
    """Histories that are to be had nowhere, of timelines up to the newest that there was.

    PostgreSQL takes the first number after the one it follows of which there is no history; all later ones must look taken.
    """
    fetched = {one.name for one in wal_files(chain, shelf, sites)}
    newest = max(shelf.timelines, default=0)
    names = (history_of(one) for one in range(chain.timeline + 1, newest + 1))
    return tuple(name for name in names if name not in fetched)


def history_of(timeline: int) -> str:
    """As PostgreSQL names the file."""
    return f"{timeline:08X}.history"


def wal_bytes(chain: Chain) -> int:
    """The room that WAL takes: as it comes, and as it is read."""
    return chain.size + len(chain.files) * chain.segment_bytes


def _reads(service: str, host: str, files: int, chain: Chain, shelf: Shelf, sites: tuple[str, ...]) -> Effect | None:
    facts = _run(service, host, "state").facts()
    if "running" not in facts and facts.get("done") != str(files):
        return None
    return Effect(f"{host} decrypts what WAL comes", {"host": host})


@act("decrypt {files} files of WAL on {host}, as they come", ask=_reads, time_limit_s=60.0)
def begin_reading(service: str, host: str, files: int, chain: Chain, shelf: Shelf, sites: tuple[str, ...]) -> None:
    """Decrypt in the background; what is decrypted already is not done again.

    Raises:
        NotAllowed: There is no age identity on this machine.
    """
    identity = world().inventory.backup_of(service).identity
    if identity is None:
        raise NotAllowed("the inventory names no age identity", "name `identity` of the service in backups.yaml")
    names = "\n".join(one.name for one in wal_files(chain, shelf, sites))
    used = "\n".join(used_numbers(chain, shelf, sites))
    _run(
        service, host, "begin", NAMES=names, USED=used, SEGMENT_BYTES=str(chain.segment_bytes), IDENTITY=identity.resolve(),
        STALL_S=str(STALL_S),
    )  # fmt: skip


def _has_wal(service: str, host: str, files: int, chain: Chain, shelf: Shelf, sites: tuple[str, ...]) -> Effect | None:
    here = _here(service, host)
    if any(one.name not in here for one in wal_files(chain, shelf, sites)):
        return None
    return Effect(f"{files} files of WAL are on {host}", {"files": files})


@act(
    "fetch {files} files of WAL to {host}, each from whichever site has it",
    ask=_has_wal,
    time_limit_s=UNPACK_TIME_LIMIT_S,
    retries=0,
)
def fetch_wal(service: str, host: str, files: int, chain: Chain, shelf: Shelf, sites: tuple[str, ...]) -> None:
    """Fetch what is not on the host yet. A file that is not what was signed for is taken from another site at once.

    Raises:
        Unsafe: A file is whole on no site that is left.
    """
    wanted = wal_files(chain, shelf, sites)
    key = {one.name: f"{keys.archive_dir(service)}/{one.file}" for one in wanted}
    lacking = {one.name: [site for site in sites if site not in one.sites] for one in wanted}
    fetch = Fetch(
        service, "WAL", host, f"{work_dir(service)}/wal-parts", wanted, sites, key_of=key.__getitem__,
        file_of=lambda name: f"{name}.age", lacking=lacking,
    )  # fmt: skip
    try:
        fetch.run(_here(service, host))
    finally:
        note_bad(service, fetch)


def _is_read(service: str, host: str, files: int, chain: Chain, shelf: Shelf, sites: tuple[str, ...]) -> Effect | None:
    facts = _run(service, host, "state").facts()
    if "running" in facts or facts.get("done") != str(files):
        return None
    return Effect(f"{files} files of WAL stand decrypted on {host}", {"files": files})


@act("see the WAL decrypted on {host}", ask=_is_read, time_limit_s=UNPACK_TIME_LIMIT_S, retries=0)
def finish_reading(service: str, host: str, files: int, chain: Chain, shelf: Shelf, sites: tuple[str, ...]) -> None:
    """Wait for the end of it. One that died, or was begun for fewer files, is begun once more.

    Raises:
        Look: It failed.
        TimedOut: It does not end.
    """
    deadline, again = time.monotonic() + UNPACK_TIME_LIMIT_S, True
    while True:
        facts = _run(service, host, "state").facts()
        if "running" not in facts:
            if facts.get("done") == str(files) or not again:
                break
            begin_reading.function(service, host, files, chain, shelf, sites)
            again = False
        if time.monotonic() > deadline:
            raise TimedOut(f"the WAL on {host} was not decrypted", f"it goes on: look at {work_dir(service)} there")
        time.sleep(_LOOK_EVERY_S)
    if facts.get("done") != str(files):
        raise Look(f"the WAL on {host} cannot be decrypted: {facts.get('said')}", "see what wrote it to the sites")


def _here(service: str, host: str) -> set[str]:
    out = _run(service, host, "state").out
    return {line.removeprefix("here=") for line in out.splitlines() if line.startswith("here=")}


def _run(service: str, host: str, verb: str, **variables: str) -> Completed:
    server = server_of(service, host)
    live = server.data_dir if host in world().inventory.service(service).hosts else "/nonexistent"
    given = {
        "VERB": verb, "SERVICE": backup_scope(service), "WORK": work_dir(service), "OS_USER": server.os_user,
        "OWNER": server.os_user, "PGDATA": live, "NAMES": "", "USED": "", "SEGMENT_BYTES": "0", "IDENTITY": "", "STALL_S": "0",
        **variables,
    }  # fmt: skip
    return run_on("wal", host, given, timeout_s=60.0)
