"""A host for the scripts that change accounts and files: this machine, with an /etc, a state and processes of its own.

Mount and process namespaces, gone with the call: what a script changes stays in the directories of the test.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.hosts import script

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, and changes accounts in them")
_ETC = (
    "passwd", "shadow", "group", "gshadow", "login.defs", "default", "nsswitch.conf", "pam.d", "security", "sudoers",
    "sudoers.d", "ssh", "alternatives",
)  # fmt: skip
_PRIVATE = {"etc": "/etc", "state": "/var/lib/recoverd", "spool": "/var/spool", "srv": "/srv"}


class PrivateHost:
    """Scripts see the directories of the test where a host has its own.

    Attributes:
        network: Whether it has a network, and rules, of its own; they are gone with each call, as by a boot.
    """

    network = False
    state = _PRIVATE["state"]

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in _PRIVATE:
            (root / name).mkdir()
        for name in _ETC:
            source = Path("/etc") / name
            if source.is_dir():
                shutil.copytree(source, root / "etc" / name, symlinks=True)
            elif source.exists():
                shutil.copy2(source, root / "etc" / name)

    def sh(self, text: str, *, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the host, as its only process tree."""
        mounts = "".join(f"mount --bind {self.root}/{name} {place}\n" for name, place in _PRIVATE.items())
        argv = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--propagation", "private"]
        argv += ["--net"] if self.network else []
        return subprocess.run(
            [*argv, "/bin/sh", "-s"], input=f"set -e\n{mounts}set +e\n{text}\n", capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip

    def run(self, name: str, before: str = "", after: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of tasks/scripts as recoverd does, between two texts; its facts are on standard output."""
        given = {"SERVICE": "host", "OS_USER": "root", "PGDATA": "/nonexistent", "EPOCH": "1", "RUN": "R1", **variables}
        settings = "".join(f"{key}={shlex.quote(value)}\n" for key, value in given.items())
        framed = f"(\n{settings}main() {{\n:\n{script(name)}\n}}\nmain </dev/null\n)\ncode=$?\n"
        return self.sh(f"{before}\n{framed}{after}\nexit $code")
