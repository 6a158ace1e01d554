"""The floor of a failover: what a script does that knows in advance what is broken and what to do, and proves nothing.

Over connections that are open already: fence (the device's command, or a stop over SSH), `pg_promote(false)` asked
again every 50 ms, the address added on the new primary and announced. Nothing of recoverd is in it.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack

import paramiko
import psycopg2

from lab import Lab

NEW = "db-2"
OLD = "db-1"


class Floor:
    """The script, with its connections open."""

    def __init__(self, lab: Lab, fault: str, stack: ExitStack) -> None:
        self.lab, self.fault = lab, fault
        self._old = None if fault == "power-off" else self._ssh(OLD, stack)
        self._new = self._ssh(NEW, stack)
        password = lab.layout.secret("postgres").read_text().strip()
        address = lab.host(NEW).address
        self._sql = psycopg2.connect(host=address, user="postgres", dbname="postgres", password=password)
        stack.callback(self._sql.close)
        self._sql.autocommit = True

    def run(self) -> float:
        """Fail over; gives the time just before, in seconds since the epoch."""
        began = time.time()
        self._fence()
        self._promote()
        address = f"{self.lab.layout.virtual_address}"
        self._do(
            self._new, f"ip addr add {address}/24 dev eth0; (arping -q -U -c 3 -I eth0 {address} >/dev/null 2>&1 &)"
        )
        return began

    def _fence(self) -> None:
        if self._old is None:
            lines = f"action=off\nplug={OLD}\n"
            subprocess.run([self.lab.state / "power"], input=lines, text=True, check=True, timeout=10)
            return
        data, address = "/var/lib/postgresql/data", self.lab.layout.virtual_address
        self._do(
            self._old,
            f"setpriv --reuid postgres --regid postgres --clear-groups touch {data}/standby.signal; "
            f"ip addr del {address}/24 dev eth0; pkill -KILL -u postgres -x postgres; "
            "while pgrep -u postgres -x postgres >/dev/null; do sleep 0.01; done",
        )

    def _promote(self) -> None:
        with self._sql.cursor() as cursor:
            while True:
                cursor.execute("select case when pg_is_in_recovery() then pg_promote(false) end")
                again = time.monotonic() + 0.05
                while time.monotonic() < again:
                    cursor.execute("select pg_is_in_recovery()")
                    if cursor.fetchone() == (False,):
                        return
                    time.sleep(0.002)

    def _do(self, client: paramiko.SSHClient, script: str) -> None:
        _stdin, out, err = client.exec_command(script, timeout=10)
        code = out.channel.recv_exit_status()
        if code not in (0, 1, 2):
            raise RuntimeError(err.read().decode())

    def _ssh(self, host: str, stack: ExitStack) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.load_host_keys(str(self.lab.state / "known_hosts"))
        client.connect(self.lab.host(host).address, username="root", key_filename=str(self.lab.state / "keys/client"))
        stack.callback(client.close)
        return client
