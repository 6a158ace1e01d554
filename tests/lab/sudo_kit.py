"""An account that is not root on a lab's hosts: it logs in with the lab's key and has what its sudoers line gives it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from failover_kit import Controller
from typing_extensions import Self

from lab import Lab

ACCOUNT = "recoverd"
RULE = f"{ACCOUNT} ALL=(root) NOPASSWD: /bin/sh"  # word for word what docs/install.md asks for
HOME = f"/etc/home/{ACCOUNT}"  # /etc is a host's own, and outlives a loss of power

_MAKE = f"""
set -e
if ! id -u {ACCOUNT} >/dev/null 2>&1; then
    useradd --no-create-home --no-log-init --home-dir {HOME} --shell /bin/sh {ACCOUNT}
    usermod -p '*' {ACCOUNT} # sshd without PAM refuses an account whose password is locked with "!"
fi
install -d -m 0755 /etc/home
install -d -m 0700 -o {ACCOUNT} -g {ACCOUNT} {HOME} {HOME}/.ssh
install -m 0600 -o {ACCOUNT} -g {ACCOUNT} /root/.ssh/authorized_keys {HOME}/.ssh/authorized_keys
"""


def use_sudo(recoverd: Controller) -> None:
    """Give every host the account, and this controller an inventory by which it logs in with it."""
    for host in recoverd.lab.hosts:
        recoverd.lab.run(host.name, _MAKE)
        write_rule(recoverd.lab, host.name, RULE)
    path = recoverd.inventory / "hosts.yaml"
    text = path.read_text().replace("ansible_user: root", f"ansible_user: {ACCOUNT}\n    ansible_become: true")
    assert "ansible_become" in text
    path.write_text(text)


def write_rule(lab: Lab, host: str, rule: str) -> None:
    """What sudoers says of the account on a host."""
    script = f"umask 337; rm -f /etc/sudoers.d/{ACCOUNT}; cat >/etc/sudoers.d/{ACCOUNT} && visudo -cq"
    lab.run(host, script, stdin=f"{rule}\n")


class ProcessLists:
    """Looks at the command lines of all processes, those of the hosts among them, for as long as the block lasts.

    Attributes:
        told: Command lines that had one of the words in them.
        sudo: Different command lines of sudo that were seen.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = [word.encode() for word in words]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.told: set[str] = set()
        self.sudo: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(timeout=10)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    line = (Path("/proc") / pid / "cmdline").read_bytes()
                except OSError:
                    continue  # it ended while we looked
                shown = line.replace(b"\0", b" ").decode(errors="replace").strip()
                if any(word in line for word in self._words):
                    self.told.add(shown)
                if line.startswith(b"sudo\0"):
                    self.sudo.add(shown)
