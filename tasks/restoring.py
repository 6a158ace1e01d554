"""Restored data on a host: fetched and unpacked beside everything that is there, and started where nobody can reach it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from recoverd.backup.listed import quoted
from recoverd.backup.manifest import Manifest
from recoverd.connections import Completed
from recoverd.errors import Look, NotAllowed, TimedOut
from recoverd.inventory import Postgres
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.fetching import Fetch
from tasks.hosts import run_on
from tasks.passages import backup_scope
from tasks.views import Facts
from tasks.wanted import wanted_paths

UNPACK_TIME_LIMIT_S = 48 * 3600.0
STALL_S = 3600
_LOOK_EVERY_S = 0.2
_SPARE_BYTES = 256 << 20


def work_dir(service: str) -> str:
    """The directory of this run's restore on its host."""
    rules = world().inventory.restore_rules_of(service)
    return f"{rules.scratch_dir}/{service}/{world().run.id}"


class Room(Facts):
    """Free space for a restore, where it is scarcest.

    Attributes:
        place: The directory whose file system that is.
        needed_bytes: For all of it that comes there: parts and WAL as they are fetched, data.
    """

    host: str
    place: str = ""
    free_bytes: int
    needed_bytes: int

    @property
    def enough(self) -> bool:
        """Whether it will fit."""
        return self.free_bytes >= self.needed_bytes

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        where = f" for {self.place}" if self.place else ""
        return f"{self.host} has {self.free_bytes >> 20} MiB free{where}, and {self.needed_bytes >> 20} are needed"


@observe("look for room on {host}")
def observe_room(service: str, host: str, manifest: Manifest, wal_bytes: int = 0) -> Room:
    """Free bytes where the restore will stand, and where it is fetched to, which may be another file system.

    Args:
        service: The service.
        host: The host.
        manifest: Of the set.
        wal_bytes: What WAL takes, as it comes and as it is read.
    """
    into = data_dir(service, host)
    facts = on_its_host("unpack", service, host, VERB="room", INTO=into).facts()
    fetched, data = manifest.size + wal_bytes, manifest.data_bytes + manifest.data_bytes // 10
    rooms = [
        Room(
            host=host, place=work_dir(service), free_bytes=int(facts["work_kb"]) * 1024,
            needed_bytes=fetched + _SPARE_BYTES + (data if facts["device"] == facts["work_device"] else 0),
        ),
        Room(host=host, place=into, free_bytes=int(facts["data_kb"]) * 1024, needed_bytes=data + _SPARE_BYTES),
    ]  # fmt: skip
    return min(rooms, key=lambda one: one.free_bytes - one.needed_bytes)


def replaces() -> bool:
    """Whether this run puts what it restores in the place of the service's data."""
    return world().run.options.get("into") == "replace"


def data_dir(service: str, host: str = "") -> str:
    """Where the data is unpacked to: below the directory of the restore, or beside the data directory that it replaces."""
    if host and replaces() and world().inventory.files_of(service) is None:
        return f"{server_of(service, host).data_dir.rstrip('/')}.recoverd-new-{world().run.id}"
    return f"{work_dir(service)}/data"


def _is_fetched(service: str, host: str, manifest: Manifest, sites: Sequence[str]) -> Effect | None:
    here = _parts_here(service, host)
    if any(part.name not in here for part in manifest.parts):
        return None
    return Effect(f"the {len(manifest.parts)} parts of {manifest.set} are on {host}", {"set": manifest.set})


@act(
    "fetch the parts to {host}, each from whichever site has it",
    ask=_is_fetched,
    time_limit_s=UNPACK_TIME_LIMIT_S,
    retries=0,
)
def fetch_parts(service: str, host: str, manifest: Manifest, sites: Sequence[str]) -> None:
    """Fetch every part that is not on the host yet; unpacking goes on beside it.

    Raises:
        Unsafe: A part is whole on no site that is left.
    """
    fetch = Fetch(service, manifest.set, host, f"{work_dir(service)}/parts", manifest.parts, sites)
    began = time.monotonic()
    try:
        fetch.run(_parts_here(service, host))
    finally:
        note_bad(service, fetch)
    seconds = max(time.monotonic() - began, 1e-3)
    shares = ", ".join(f"{count} from {site}" for site, count in sorted(fetch.came_from.items()))
    world().say(
        f"{fetch.size} bytes in {seconds:.2f} s, {fetch.size / seconds / 1e6:.1f} MB/s: {shares or 'all there'}"
    )


def note_bad(service: str, fetch: Fetch) -> None:
    """Keep in the journal which files of which site must be healed."""
    here = world()
    if here.journal is None or here.dry_run or not fetch.bad:
        return
    body = {
        "service": service,
        "set": fetch.set_name,
        "bad": {site: sorted(set(names)) for site, names in fetch.bad.items()},
    }
    here.journal.append("site.bad", who="recoverd", run=here.run.id, body=body)


def _parts_here(service: str, host: str) -> set[str]:
    out = on_its_host("unpack", service, host, VERB="state", INTO=data_dir(service, host)).out
    return {line.removeprefix("here=") for line in out.splitlines() if line.startswith("here=")}


def _unpacks(service: str, host: str, parts: int) -> Effect | None:
    facts = on_its_host("unpack", service, host, VERB="state", INTO=data_dir(service, host)).facts()
    if "running" not in facts and facts.get("done") != str(parts):
        return None
    return Effect(f"{host} unpacks what comes", {"host": host})


def _this_work(service: str, host: str, parts: int) -> dict[str, str]:
    return {"work": work_dir(service), "data": data_dir(service, host)}


@act(
    "unpack on {host}, beside what is there",
    ask=_unpacks,
    undo="tasks.restoring:clean",
    remember=_this_work,
    time_limit_s=60.0,
)
def begin_unpacking(service: str, host: str, parts: int) -> None:
    """Decrypt and unpack the stream in the background, part by part as they come, and verify every file.

    Raises:
        NotAllowed: There is no age identity on this machine.
    """
    _begin(service, host, parts)


def take_up(service: str, host: str, parts: int) -> None:
    """See that it unpacks, in a run that is resumed: what an earlier execution began may have died with its host, or failed."""
    if not world().dry_run and _is_unpacked(service, host, parts) is None and _unpacks(service, host, parts) is None:
        _begin(service, host, parts)


def _begin(service: str, host: str, parts: int) -> None:
    identity = world().inventory.backup_of(service).identity
    if identity is None:
        raise NotAllowed("the inventory names no age identity", "name `identity` of the service in backups.yaml")
    on_its_host(
        "unpack", service, host, VERB="begin", INTO=data_dir(service, host), PARTS=str(parts), IDENTITY=identity.resolve(),
        STALL_S=str(STALL_S), WANTED="\n".join(quoted(path) for path in wanted_paths()),
    )  # fmt: skip


def _is_unpacked(service: str, host: str, parts: int) -> Effect | None:
    facts = on_its_host("unpack", service, host, VERB="state", INTO=data_dir(service, host)).facts()
    if "running" in facts or facts.get("done") != str(parts):
        return None
    return Effect(
        f"the data stands in {data_dir(service, host)} on {host}, every file verified",
        {"host": host, "data": data_dir(service)},
    )


@act("see the data unpacked and verified on {host}", ask=_is_unpacked, time_limit_s=UNPACK_TIME_LIMIT_S, retries=0)
def finish_unpacking(service: str, host: str, parts: int) -> None:
    """Wait for the end of the unpacking. Raises Look when it failed, TimedOut when it does not end.

    One that was killed, and so has not said why it ended, begins anew from the parts that are there.
    """
    facts = on_its_host("unpack", service, host, VERB="state", INTO=data_dir(service, host)).facts()
    if "running" not in facts and facts.get("done") != str(parts) and not facts.get("said"):
        _begin(service, host, parts)
    deadline = time.monotonic() + UNPACK_TIME_LIMIT_S
    while True:
        facts = on_its_host("unpack", service, host, VERB="state", INTO=data_dir(service, host)).facts()
        if "running" not in facts:
            break
        if time.monotonic() > deadline:
            raise TimedOut(f"the unpacking on {host} did not end", f"it goes on: look at {work_dir(service)} there")
        time.sleep(_LOOK_EVERY_S)
    if facts.get("done") != str(parts):
        raise Look(f"the unpacking on {host} failed: {facts.get('said')}", "resume the run: what was fetched is kept")


def _is_clean(service: str, host: str, parts: int, remembered: dict[str, str]) -> Effect | None:
    done = on_its_host("unpack", service, host, VERB="state", WORK=remembered["work"], INTO=_into_of(remembered))
    if "here=" in done.out or done.facts().get("done") or "data=" in done.out:
        return None
    return Effect(f"nothing is left of the restore on {host}")


def _into_of(remembered: dict[str, str]) -> str:
    return remembered.get("data") or f"{remembered['work']}/data"


@act("remove the restored copy on {host}", ask=_is_clean, time_limit_s=600.0)
def clean(service: str, host: str, parts: int, remembered: dict[str, str]) -> None:
    """Undo a restore beside: stop the scratch server and remove its directory. Nothing else is touched."""
    work, data = remembered["work"], _into_of(remembered)
    if world().inventory.files_of(service) is None:
        on_its_host("scratch", service, host, VERB="stop", WORK=work, PGDATA=data, timeout_s=150.0)
    on_its_host("unpack", service, host, VERB="clean", WORK=work, INTO=data)


def server_of(service: str, host: str) -> Postgres:
    """The programs and the account of a server on a host: the member's own, else those of the service."""
    wanted = world().inventory.service(service)
    return wanted.postgres_of(host) if host in wanted.hosts else wanted.postgresql


def on_its_host(name: str, service: str, host: str, *, timeout_s: float = 60.0, **variables: str) -> Completed:
    """Run one of a restore's scripts on its host, with what all of them need."""
    if world().inventory.files_of(service) is not None:
        given = {
            "SERVICE": backup_scope(service),
            "WORK": work_dir(service),
            "PARTS": "0",
            "IDENTITY": "",
            "STALL_S": "0",
        }
        scripts = {"unpack": "files_list+unpack_files+unpack"}
        return run_on(scripts[name], host, {**given, "WANTED": "", **variables}, timeout_s=timeout_s)
    server, rules = server_of(service, host), world().inventory.restore_rules_of(service)
    given = {
        "SERVICE": backup_scope(service), "WORK": work_dir(service), "OS_USER": server.os_user, "OWNER": server.os_user,
        "BIN": server.bin_dir, "PORT": str(rules.scratch_port), "DB_USER": server.user, "TARGET": "", "AT_END": "", "DATABASE": "",
        "SQL": "", "PARTS": "0", "IDENTITY": "", "STALL_S": "0", **variables,
    }  # fmt: skip
    return run_on("unpack_base+unpack" if name == "unpack" else name, host, given, timeout_s=timeout_s)
