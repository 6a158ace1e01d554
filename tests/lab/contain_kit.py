"""Accounts, sessions and flows of an attacker on hosts of the lab, which has a file system of its own for each only in part."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab_kit import ssh

from lab import Lab

# /etc and /srv are the host's own; what accounts have elsewhere must be, too.
MAKE = """set -e
mountpoint -q /var/spool/cron || { mkdir -p /var/spool/cron && mount -t tmpfs none /var/spool/cron; }
mkdir -p /srv/home /var/spool/cron/crontabs /etc/skel
for one in %s; do
    getent passwd $one >/dev/null || useradd -l -M -d /srv/home/$one -s /bin/sh $one
    install -d -o $one -g $one -m 700 /srv/home/$one /srv/home/$one/.ssh
    install -o $one -g $one -m 600 /dev/stdin /srv/home/$one/.ssh/authorized_keys <<KEY
%s
KEY
    usermod -p '$6$salt$hash' -e 2031-02-03 -s /bin/sh $one
    echo '0 0 1 1 * beacon' >/var/spool/cron/crontabs/$one
    touch -d 2020-02-02 /srv/home/$one/.ssh/authorized_keys /var/spool/cron/crontabs/$one
done
"""
SHOWN = """getent passwd %s; getent shadow %s; cd /
find /srv/home /var/spool/cron -type f -printf '%%p %%m %%u %%g %%s %%T@\\n' | sort"""
DROP = """for one in $(awk -F: '$6 ~ "^/srv/home/" { print $1 }' /etc/passwd); do pkill -KILL -u $one; userdel $one; done
rm -rf /srv/home /srv/www /srv/db /srv/.recoverd-quarantine /var/lib/recoverd/*; nft delete table inet recoverd_contain
rm -f /etc/sudoers.d/attackers; true"""


class Attacker:
    """A person with a key, who has accounts on some hosts."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab, self.key = lab, directory / "attacker"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.sessions: list[subprocess.Popen[bytes]] = []

    def settle(self, host: str, *accounts: str) -> None:
        """Have accounts on a host, with keys and crontabs."""
        public = self.key.with_suffix(".pub").read_text().strip()
        self.lab.run(host, MAKE % (" ".join(accounts), public))

    def logs_in(self, host: str, account: str, port: int = 22) -> bool:
        """Whether the key opens a session."""
        return ssh(self.lab, host, "true", *self._options(host, account, port)).ok

    def opens(self, host: str, account: str, command: str) -> subprocess.Popen[bytes]:
        """A session that stays open."""
        argv = [
            "ssh",
            "-F",
            str(self.lab.state / "ssh_config"),
            "-o",
            "BatchMode=yes",
            *self._options(host, account, 22),
            host,
        ]
        session = subprocess.Popen([*argv, command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.sessions.append(session)
        return session

    def leaves(self) -> None:
        """End what is still open."""
        for session in self.sessions:
            session.kill()
            session.wait(timeout=10)
            if session.stdout:
                session.stdout.close()

    def _options(self, host: str, account: str, port: int) -> tuple[str, ...]:
        return ("-l", account, "-p", str(port), "-o", f"IdentityFile={self.key}", "-o", f"HostKeyAlias={host}")


def shown(lab: Lab, host: str, accounts: str) -> str:
    """All that counts of accounts on a host, in words."""
    return lab.run(host, SHOWN % (accounts, accounts)).out


def processes(lab: Lab, host: str, account: str) -> int:
    """How many an account has."""
    return len(lab.run(host, f"ps -o pid= -u {account}", check=False).out.split())
