"""The systemd units of a lab's database host: sshd, and PostgreSQL as Debian has it, but with Restart=always."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.layout import Host, Layout

SCRIPT = Path(__file__).resolve().parent / "scripts" / "systemd.sh"
TARGET = """\
[Unit]
Description=All of this host
DefaultDependencies=no
Wants=sshd.service
"""
SSHD = """\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/sbin/sshd -D -e
StandardOutput=null
StandardError=append:/run/sshd.log
KillMode=process
Restart=always
RestartSec=200ms
"""
# Nothing wants it, so that none starts at the boot of its host.
POSTGRESQL = """\
[Unit]
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
Type=forking
User=postgres
PIDFile=/var/lib/postgresql/data/postmaster.pid
ExecStart=/var/lib/postgresql/server/bin/pg_ctl -s -w -t 30 -D /var/lib/postgresql/data -l /var/lib/postgresql/postgresql.log start
ExecStop=/var/lib/postgresql/server/bin/pg_ctl -s -w -t 30 -D /var/lib/postgresql/data -m fast stop
ExecReload=/var/lib/postgresql/server/bin/pg_ctl -s -D /var/lib/postgresql/data reload
StandardOutput=null
StandardError=append:/var/lib/postgresql/unit.log
Restart=always
RestartSec=200ms
"""


def write(layout: Layout, host: Host, etc: Path) -> None:
    """Put the units below a host's own /etc, and take the machine's away.

    They do not stand in /etc/systemd/system: like those of Debian's packages, they can be masked there.
    """
    shutil.rmtree(etc / "systemd", ignore_errors=True)
    (etc / "systemd/system").mkdir(parents=True)
    units = etc / "recoverd-lab/units"
    units.mkdir(parents=True)
    files = {"lab.target": TARGET, "sshd.service": SSHD, "postgresql@.service": POSTGRESQL}
    for name, text in files.items():
        (units / name).write_text(text)
    shutil.copy(SCRIPT, etc / "recoverd-lab/systemd.sh")
    (etc / "recoverd-lab/group").write_text(f"{host.namespace}\n")
