"""The exact commands of a runbook: how to reach a host or a server of this inventory with ssh and psql.

Secrets stand in them as references (`$(cat FILE)`, `$NAME`), and reach programs by environment or standard input only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from recoverd.inventory import Inventory, Postgres, SecretRef, Service, VirtualAddress
from tasks.replication import passfile_of

STATE = "/var/lib/recoverd"
_TAKE_PASSWORD = "IFS= read -r PGPASSWORD; export PGPASSWORD; exec sh -s"  # noqa: S105 - a script, no secret


class Commands:
    """Writes commands for the hosts and servers of one service."""

    def __init__(self, service: Service, inventory: Inventory) -> None:
        self.service, self.inventory = service, inventory

    @property
    def addresses(self) -> tuple[VirtualAddress, ...]:
        """The addresses that move."""
        return tuple(entry for entry in self.service.entry_points if isinstance(entry, VirtualAddress))

    def server(self, host: str) -> Postgres:
        """The server of a member."""
        return self.service.postgres_of(host)

    def address(self, host: str) -> str:
        """The address of a host."""
        return self.inventory.host(host).address

    def ssh(self, host: str, *options: str) -> str:
        """The `ssh` command to a host, without what it runs there."""
        machine = self.inventory.host(host)
        words = ["ssh", "-p", str(machine.port)]
        if machine.key_file is not None:
            words += ["-i", str(machine.key_file)]
        if machine.known_hosts is not None:
            words += ["-o", f"UserKnownHostsFile={machine.known_hosts}"]
        words += ["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5", *options]
        return shlex.join([*words, f"{machine.user}@{machine.address}"])

    def on(self, host: str, script: str, *, otherwise: str = "") -> str:
        """Run a script as root on a host."""
        machine = self.inventory.host(host)
        shell = "sudo -n sh -s" if machine.become else "sh -s"
        start = shell if machine.local else f"{self.ssh(host)} {shlex.quote(shell) if ' ' in shell else shell}"
        tail = f" || echo {shlex.quote(otherwise)}" if otherwise else ""
        return f"{start} <<'EOF'{tail}\ncd /\n{script.strip()}\nEOF"

    def on_with_password(self, host: str, secret: SecretRef | None, script: str) -> str:
        """The same, with a database password in the script's environment. It travels on standard input."""
        if secret is None:
            return self.on(host, script)
        machine = self.inventory.host(host)
        take = f"sh -c {shlex.quote(_TAKE_PASSWORD)}"
        take = f"sudo -n {take}" if machine.become else take
        start = take if machine.local else f"{self.ssh(host)} {shlex.quote(take)}"
        return f"{{ printf '%s\\n' {reference(secret)}; cat <<'EOF'\ncd /\n{script.strip()}\nEOF\n}} | {start}"

    def psql(self, host: str, sql: str, *, otherwise: str = "") -> str:
        """Run SQL on a member as recoverd's user."""
        server = self.server(host)
        where = {"host": self.address(host), "port": str(server.port), "dbname": server.database, "user": server.user}
        return self._psql({**where, "sslmode": server.sslmode}, server.password, sql, otherwise)

    def psql_through(self, entry: VirtualAddress, sql: str, *, port: int, hostaddr: str) -> str:
        """Run SQL through an entry point, as its user."""
        server = self.service.postgresql
        where = {
            "host": entry.ip,
            "hostaddr": hostaddr,
            "port": str(port),
            "dbname": entry.database or server.database,
            "user": entry.user or server.user,
            "sslmode": entry.sslmode or server.sslmode,
        }
        return self._psql(where, entry.password or server.password, sql, "")

    def psql_anywhere(self, sql: str) -> str:
        """Run SQL on whichever member takes writes, as a client with a multi-host connection string does."""
        entry = next(entry for entry in self.service.entry_points if entry.kind == "libpq")
        server = self.service.postgresql
        where = {
            "host": ",".join(self.address(host) for host in self.service.hosts),
            "port": ",".join(str(self.server(host).port) for host in self.service.hosts),
            "dbname": entry.database or server.database,
            "user": entry.user or server.user,
            "sslmode": entry.sslmode or server.sslmode,
            "target_session_attrs": "read-write",
        }
        return self._psql(where, entry.password or server.password, sql, "")

    def as_owner(self, host: str, command: str) -> str:
        """A command on a host as the user that owns the database; for scripts of `on`."""
        user = shlex.quote(self.server(host).os_user)
        return f'setpriv --reuid={user} --regid="$(id -g {user})" --init-groups -- {command}'

    def processes(self, host: str) -> str:
        """List what works in the data directory, a line a process; for scripts of `on`."""
        return f'find /proc -maxdepth 2 -name cwd -lname "$(readlink -f {self.server(host).data_dir})" 2>/dev/null'

    def drop_stale_lock(self, host: str) -> str:
        """Remove the lock file that a server which died has left: its process id may be anybody's by now; for scripts of `on`."""
        return f'[ -n "$({self.processes(host)})" ] || rm -f {self.server(host).data_dir}/postmaster.pid'

    def start_server(self, host: str) -> str:
        """Start the server, by its own supervisor; for scripts of `on`."""
        return f"{self.drop_stale_lock(host)}\n{self._start(host)}"

    def _start(self, host: str) -> str:
        server = self.server(host)
        if server.control.unit:
            unit = shlex.quote(server.control.unit)
            return f"systemctl unmask {unit}\nsystemctl start {unit}"
        log = server.control.log_file or f"{server.data_dir}.log"
        config = f" -o {shlex.quote(f'-c config_file={server.config_file}')}" if server.config_file else ""
        return self.as_owner(host, f"{server.bin_dir}/pg_ctl -D {server.data_dir} -l {log} -s -w -t 60{config} start")

    def stop_server(self, host: str) -> str:
        """Stop the server in good order; for scripts of `on`."""
        server = self.server(host)
        if server.control.unit:
            return f"systemctl stop {shlex.quote(server.control.unit)}"
        return self.as_owner(host, f"{server.bin_dir}/pg_ctl -D {server.data_dir} -s -w -t 120 -m fast stop")

    def conninfo(self, host: str, primary: str) -> str:
        """The connection string with which a member streams from a primary; its password is in a file of its own."""
        server = self.server(primary)
        parts = f"host={self.address(primary)} port={server.port} user={server.replication_user}"
        secret = f" passfile={self.passfile}" if server.replication_password is not None else ""
        return f"{parts} application_name={host}{secret}"

    @property
    def passfile(self) -> str:
        """The file with the password for replication, on every host the same."""
        return passfile_of(self.service.name)

    def write_passfile(self, host: str) -> list[str]:
        """Write that file; for scripts of `on_with_password`."""
        server = self.server(host)
        return [
            f"mkdir -p {STATE}",
            "escaped=$(printf %s \"$PGPASSWORD\" | sed 's/[\\\\:]/\\\\&/g')",
            f"(umask 077 && printf '*:*:*:{server.replication_user}:%s\\n' \"$escaped\" >{self.passfile})",
            f"chown --reference={server.data_dir}/PG_VERSION {self.passfile}",
            "unset PGPASSWORD",
        ]

    def fence_call(self, device: str, host: str, action: str) -> str:
        """Call a fence device of the inventory for a host."""
        found = self.inventory.fence_devices[device]
        if found.kind == "aws-ec2":
            verb = {"off": "stop-instances --force", "on": "start-instances"}.get(action, "describe-instances")
            return f"aws ec2 {verb} --region {found.region} --instance-ids {shlex.quote(found.plugs[host])}"
        lines = [shlex.quote(f"action={action}"), shlex.quote(f"plug={found.plugs[host]}")]
        for key, value in found.options.items():
            lines.append(
                shlex.quote(f"{key}={value}")
                if isinstance(value, str)
                else f'"{key}={reference(value).strip(chr(34))}"'
            )
        return f"printf '%s\\n' {' '.join(lines)} | {shlex.join(found.command)}"

    def _psql(self, where: Mapping[str, str], secret: SecretRef | None, sql: str, otherwise: str) -> str:
        conninfo = " ".join(f"{key}={value}" for key, value in {**where, "connect_timeout": "5"}.items())
        password = f"PGPASSWORD={reference(secret)} " if secret is not None else ""
        tail = f" || echo {shlex.quote(otherwise)}" if otherwise else ""
        return f"{password}psql -X -q -At -v ON_ERROR_STOP=1 {shlex.quote(conninfo)} <<'SQL'{tail}\n{sql.strip()}\nSQL"


def reference(secret: SecretRef) -> str:
    """A secret as a shell word that is read when the command runs."""
    if secret.file is not None:
        return f'"$(cat {shlex.quote(str(secret.file))})"'
    if secret.env is not None:
        return f'"${secret.env}"'
    return f'"${variable_of(secret)}"'


def variable_of(secret: SecretRef) -> str:
    """The shell variable that stands for a Prefect block, which a person sets before."""
    return "SECRET_" + re.sub(r"\W", "_", str(secret.prefect_block)).upper()


def secrets_in(commands: Commands) -> tuple[SecretRef, ...]:
    """The secrets that the commands of a service refer to."""
    found: list[SecretRef] = []
    for host in commands.service.hosts:
        server = commands.server(host)
        found += [secret for secret in (server.password, server.replication_password) if secret is not None]
        for name in commands.service.member(host).fencing:
            options = commands.inventory.fence_devices[name].options.values()
            found += [option for option in options if isinstance(option, SecretRef)]
    found += [entry.password for entry in commands.service.entry_points if entry.password is not None]
    return tuple(dict.fromkeys(found))
