"""Where the stream of a backup set comes from: a PostgreSQL server, or files of a host. One class a kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from psycopg2.extensions import make_dsn

from recoverd.connections import Sql
from recoverd.errors import Look
from recoverd.inventory import FilesBackup, HostSite, Service
from recoverd.world import world
from tasks.hosts import paths
from tasks.postgres import LOGIN_TIMEOUT_S
from tasks.views import lsn_to_int

_SPARE_BYTES = 64 << 20
_LEAST_PART_BYTES = 1 << 20
_PARTS = 64
"""So many parts at least, if they are not too small then: at the end of a fetch sites wait for each other's last part."""
_OWN = "/var/lib/recoverd"

_SIZE = "select coalesce(sum(pg_database_size(oid)), 0)::bigint from pg_database"
_CLUSTER = """
select (select system_identifier::text from pg_control_system()) as system_identifier,
       current_setting('server_version_num')::int as server_version,
       (select bytes_per_wal_segment from pg_control_init()) as segment_bytes,
       (select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global')) as tablespaces
"""


class Origin(Protocol):
    """What taking a set needs to know of what it is taken from.

    Attributes:
        script: The files of shell that go before take.sh.
        tells: The words without which a stream that came to its end is not believed.
    """

    script: str
    tells: frozenset[str]

    def variables(self, host: str) -> dict[str, str]:
        """For every call of the script."""
        ...

    def begin(self, host: str) -> dict[str, str]:
        """For the call that begins the stream. Raises Look where it cannot be taken."""
        ...

    def facts(self, host: str, said: Mapping[str, str]) -> dict[str, Any]:
        """What the manifest says of this kind of set."""
        ...


class Server:
    """A server of a service: its base backup."""

    script = "base_source"
    tells = frozenset({"start", "end", "timeline"})

    def __init__(self, service: Service) -> None:
        self._service = service

    def variables(self, host: str) -> dict[str, str]:
        """Paths and programs of the server."""
        return {**paths(self._service, host), **dict.fromkeys(("SOURCE", "SECRET", "NEED_KB"), "")}

    def begin(self, host: str) -> dict[str, str]:
        """How pg_basebackup connects. Raises Look for a server with tablespaces."""
        server, session = self._service.postgres_of(host), self._session(host)
        if int(session.rows(_CLUSTER, timeout_s=10.0)[0]["tablespaces"]):
            raise Look(
                f"{host} has tablespaces, which this engine does not back up", "use the engine pgbackrest for it"
            )
        size = int(session.value(_SIZE, timeout_s=60.0))
        source = make_dsn(
            host=world().inventory.host(host).address, port=server.port, user=server.replication_user,
            application_name="pg_basebackup recoverd", connect_timeout=10, sslmode=server.sslmode,
        )  # fmt: skip
        return {
            "SOURCE": str(source),
            "SECRET": server.replication_password.resolve() if server.replication_password else "",
            "NEED_KB": str((size // 2 + _SPARE_BYTES) // 1024),
            "PART_BYTES": str(part_bytes(size, world().inventory.backup_of(self._service.name).part_bytes)),
        }

    def facts(self, host: str, said: Mapping[str, str]) -> dict[str, Any]:
        """Whose data it is, and the WAL that it needs."""
        session = self._session(host)
        cluster = session.rows(_CLUSTER, timeout_s=10.0)[0]
        return {
            "system_identifier": cluster["system_identifier"],
            "server_version": cluster["server_version"],
            "timeline": int(said["timeline"]),
            "start_lsn": lsn_to_int(said["start"]) or 0,
            "end_lsn": lsn_to_int(said["end"]) or 0,
            "segment_bytes": cluster["segment_bytes"],
            "data_bytes": int(session.value(_SIZE, timeout_s=60.0)),
        }

    def _session(self, host: str) -> Sql:
        return world().connections.sql(self._service, host, timeout_s=LOGIN_TIMEOUT_S)


def part_bytes(size: int, most: int) -> int:
    """The size of a part of a database of some size: small enough for several sites to share a restore evenly."""
    return min(most, max(_LEAST_PART_BYTES, size // _PARTS))


class Files:
    """Files and directories of a host."""

    script = "files_list+files_source"
    tells = frozenset({"data_kb", "files"})

    def __init__(self, backup: FilesBackup) -> None:
        self._backup = backup

    def variables(self, host: str) -> dict[str, str]:
        """Which files it is about: never recoverd's own, nor what a site of the backup holds on that host."""
        sites = [site.path for site in self._backup.sites if isinstance(site, HostSite) and site.host == host]
        return {"PATHS": "\n".join(self._backup.paths), "EXCLUDE": "\n".join([*self._backup.exclude, *sites, _OWN])}

    def begin(self, host: str) -> dict[str, str]:
        """Nothing more."""
        return {}

    def facts(self, host: str, said: Mapping[str, str]) -> dict[str, Any]:
        """How much it is."""
        return {"kind": "files", "files": int(said["files"]), "data_bytes": int(said["data_kb"]) * 1024}


def origin_of(archive: str) -> Origin:
    """What the sets of a service, or of an archive of files, are taken from. Raises Invalid."""
    inventory = world().inventory
    files = inventory.files_of(archive)
    return Server(inventory.service(archive)) if files is None else Files(files)
