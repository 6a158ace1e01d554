"""The lab as its users see it: raise it, look at it, break it, mend it, take it away."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from lab import build, cluster, faults, guests, machine, s3, teardown
from lab.guests import Guest, GuestKind
from lab.layout import DEFAULT_NAME, Host, Layout, base_dir, checked_name
from lab.roles import writers
from lab.shell import Ran
from lab.status import LabStatus, survey
from recoverd.errors import Invalid, Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def up(
    name: str = DEFAULT_NAME,
    *,
    hosts: Sequence[str] = (),
    databases: bool = True,
    sync: bool = False,
    supervisor: bool = False,
    systemd: bool = False,
    wal_level: str = "replica",
    disk_mb: int = 1024,
    backups: bool = False,
    backup_disk_mb: int = 2048,
    postgresql: int | None = None,
    say: build.Say = lambda _: None,
) -> Lab:
    """Raise a lab: db-1 (primary), db-2 and db-3 (standbys), app-1 and `hosts`; about 3 s, with backups 6 s.

    Args:
        name: Up to 8 small letters and digits. The default lab has the network 10.77.0.0/24, others find a free one.
        hosts: Names of more hosts, without a database; up to 200.
        databases: False leaves PostgreSQL out, with db-1 to db-3 and app-1: `hosts` are all there is.
        sync: Commits wait for any one standby.
        supervisor: A dead postmaster is started again in place. None starts at the boot of its host.
        systemd: systemd is the first process of database hosts; PostgreSQL is a unit with Restart=always.
        wal_level: PostgreSQL's `wal_level`.
        disk_mb: Size of the file system that a server's data directory stands on, in MiB.
        backups: Also the other two sites of a three-site backup: backup-1 (its disk is /srv/backups, for the account
            postgres) and s3-1 (S3 over TLS, with a bucket that keeps versions), and the keys that go with them.
        backup_disk_mb: Size of the file system that each of the two keeps its backups on, in MiB.
        postgresql: Major version; the newest of 15 to 18 that is installed by default.
        say: Told about progress, a sentence at a time.

    Raises:
        Refused: The lab is up already, or the machine lacks something; the error names what and the apt package.
    """
    layout = build.build(
        name, hosts, say, databases=databases, sync=sync, supervisor=supervisor, systemd=systemd, wal_level=wal_level, disk_mb=disk_mb,
        version=postgresql, backups=backups, backup_disk_mb=backup_disk_mb,
    )  # fmt: skip
    return Lab(layout)


class Lab:
    """A lab that is up.

    Attributes:
        layout: Its names, addresses and paths.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @classmethod
    def open(cls, name: str = DEFAULT_NAME) -> Lab:
        """The lab `name`. Raises Refused if it is not up."""
        state = base_dir() / checked_name(name)
        if not (state / "ready").exists():
            raise Refused(f"there is no lab called {name}", f"start it with `recoverd lab up --name {name}`")
        return cls(Layout.model_validate_json((state / "lab.json").read_text()))

    @staticmethod
    def names() -> tuple[str, ...]:
        """The labs that are up."""
        return tuple(sorted(path.parent.name for path in base_dir().glob("*/ready")))

    @staticmethod
    def remove(name: str = DEFAULT_NAME) -> None:
        """Take the lab `name` away, whether it is up, half up or not there at all. Raises Unproven, Busy."""
        teardown.down(name)

    def down(self) -> None:
        """Take this lab away. May be repeated. Raises Unproven, Busy."""
        teardown.down(self.layout.name)

    @property
    def name(self) -> str:
        """Its name."""
        return self.layout.name

    @property
    def state(self) -> Path:
        """The directory of everything that it keeps on disk."""
        return self.layout.state

    @property
    def inventory(self) -> Path:
        """The directory of the inventory that describes it."""
        return self.layout.state / "inventory"

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts, database hosts first."""
        return tuple(self.layout.hosts.values())

    def host(self, name: str) -> Host:
        """The host called `name`. Raises Invalid with the nearest name."""
        if name in self.layout.hosts:
            return self.layout.hosts[name]
        near = get_close_matches(name, self.layout.hosts, n=1)
        raise Invalid(f"the lab {self.name} has no host {name!r}", f"did you mean {near[0]}?" if near else "")

    def run(
        self, host: str, command: Sequence[str] | str, *, user: str = "root", timeout_s: float = 20, check: bool = True,
        stdin: str = "",
    ) -> Ran:  # fmt: skip
        """Run an argument list, or a script for `sh`, inside a host without SSH; see `machine.run`."""
        return machine.run(
            self.layout, self.host(host), command, user=user, timeout_s=timeout_s, check=check, stdin=stdin
        )

    def add_guest(self, host: str, kind: GuestKind = "routed") -> Guest:
        """Give a host a guest with a network of its own, up until the host's power is cut; see `guests.add`."""
        return guests.add(self.layout, self.host(host), kind)

    def run_in(self, guest: Guest, command: Sequence[str] | str, *, timeout_s: float = 20, check: bool = True) -> Ran:
        """Run an argument list, or a script for `sh`, in a guest's network; see `guests.run`."""
        return guests.run(self.layout, guest, command, timeout_s=timeout_s, check=check)

    def status(self) -> LabStatus:
        """What every host is and does now."""
        return survey(self.layout)

    def power_off(self, host: str) -> None:
        """Cut a host's power: no process of it says another word. Raises CommandFailed if it lives on."""
        machine.power(self.layout, self.host(host), "off")

    def power_on(self, host: str) -> None:
        """Boot a host and wait for its sshd, and for S3 on s3-1; PostgreSQL stays stopped.

        Raises CommandFailed, TimedOut.
        """
        faults.power_on(self.layout, self.host(host))

    def is_on(self, host: str) -> bool:
        """Whether a host has power."""
        return machine.init_pid(self.host(host)) is not None

    def start_postgres(self, host: str) -> None:
        """Start PostgreSQL on a host as it is, whatever that leads to; `mend("kill", …)` is the careful way."""
        cluster.start(self.layout, self.host(host))

    def s3_client(self, *, timeout_s: float = 5) -> S3Client:
        """A boto3 client of the off-site: one attempt a call. Raises Refused if the lab has no backups.

        Args:
            timeout_s: Limit for connecting, and for each answer.
        """
        if not self.layout.backups:
            raise Refused(f"the lab {self.name} has no off-site", "start one with `recoverd lab up --backups`")
        return s3.client(self.layout, timeout_s=timeout_s)

    def writers(self) -> tuple[str, ...]:
        """The hosts whose PostgreSQL accepts writes now; never two."""
        return writers(self.layout)

    def break_(self, kind: str, host: str, *, peers: Sequence[str] = (), rate_kbit: int = 256) -> str:
        """Inject a fault, for real.

        Args:
            kind: One of `faults.KINDS`: kill, power-off, partition, freeze, full-disk, slow-link.
            host: Where.
            peers: For a partition: the hosts to cut it off from, "controller" among them; none means all.
            rate_kbit: For a slow link: what passes, each way.

        Returns:
            A sentence on what was done. Raises Invalid, Refused.
        """
        return faults.inject(self.layout, kind, self.host(host), peers=tuple(peers), rate_kbit=rate_kbit)

    def mend(self, kind: str, host: str) -> str:
        """Undo a fault; does nothing where there is none. Returns a sentence. Raises Invalid, Refused, Unsafe."""
        return faults.mend(self.layout, kind, self.host(host))
