"""Accounts are locked out and let in again by the shell that runs on hosts: what was there comes back to the last byte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from private_host_kit import NEEDS_ROOT, PrivateHost

pytestmark = [
    NEEDS_ROOT,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="makes namespaces"),
    pytest.mark.skipif(shutil.which("sshd") is None and not Path("/usr/sbin/sshd").exists(), reason="asks sshd"),
]
SCRIPT = "account_processes+account"
SHOWN = (
    "getent passwd mallory svc-old nopass; getent shadow mallory svc-old nopass\n"
    "cd / && find /srv/home /var/spool -type f -printf '%p %m %u %g %s %T@\\n' | sort"
)
MAKE = """set -e; mkdir -p /srv/home /etc/skel
for one in mallory svc-old nopass; do
    useradd -l -M -d /srv/home/$one -s /bin/sh $one
    install -d -o $one -g $one /srv/home/$one
done
usermod -p '$6$salt$hash' mallory; chage -E 2031-02-03 mallory; usermod -p '' nopass
mkdir -p /srv/home/mallory/.ssh /var/spool/cron/crontabs /var/spool/cron/atjobs
echo 'ssh-ed25519 AAAA mallory' > /srv/home/mallory/.ssh/authorized_keys
chown -R mallory: /srv/home/mallory/.ssh; chmod 600 /srv/home/mallory/.ssh/authorized_keys
echo '* * * * * beacon' > /var/spool/cron/crontabs/mallory
echo job > /var/spool/cron/atjobs/a00001; chown mallory: /var/spool/cron/atjobs/a00001
touch -d 2020-02-02 /srv/home/mallory/.ssh/authorized_keys /var/spool/cron/crontabs/mallory
"""


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    done = made.sh(MAKE)
    assert done.returncode == 0, done.stderr
    return made


def call(
    host: PrivateHost, verb: str, account: str = "mallory", before: str = "", after: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    given = {"VERB": verb, "ACCOUNT": account, "LOGIN": "root", **more}
    return host.run(SCRIPT, before, after, **given)


def facts(host: PrivateHost, verb: str = "state", account: str = "mallory", before: str = "", **more: str) -> set[str]:
    done = call(host, verb, account, before, **more)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def lock(host: PrivateHost, account: str = "mallory", **more: str) -> None:
    done = call(host, "lock", account, **more)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("account", ["mallory", "svc-old", "nopass"])
def test_what_a_lock_took_away_a_release_puts_back_exactly(host: PrivateHost, account: str) -> None:
    before = host.sh(SHOWN).stdout
    lock(host, account)
    assert {"kept=1", "mine=1", "shut=1", "processes=0"} <= facts(host, account=account)
    shut = host.sh(f"getent passwd {account}; getent shadow {account}").stdout
    assert "nologin" in shut
    assert f"\n{account}:!" in shut
    lock(host, account)  # as a run does that goes on after a kill
    done = call(host, "release", account)
    assert done.returncode == 0, done.stderr
    assert host.sh(SHOWN).stdout == before
    assert facts(host, account=account) >= {"processes=0"}
    assert not (host.root / "state/contain/accounts" / account).exists()


def test_keys_crontab_and_jobs_are_out_of_the_accounts_reach(host: PrivateHost) -> None:
    lock(host)
    assert not {"keys=1", "starters=1"} & facts(host)
    assert "aside=3" in facts(host)
    assert host.sh("find /srv/home /var/spool -type f ! -name '.*'").stdout == ""
    kept = host.root / "state/contain/accounts/mallory"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert "$hash" not in "".join(path.read_text() for path in kept.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("usermod -s /bin/sh mallory", "its shell is /bin/sh now"),
        ("chage -E -1 mallory", "its day of expiry was changed"),
        ("usermod -p '!other' mallory", "its password was changed"),
        ("usermod -U mallory", "its password was unlocked"),
        ("echo new > /srv/home/mallory/.ssh/authorized_keys", "there is a new /srv/home/mallory/.ssh/authorized_keys"),
        ("rm -r /srv/home/mallory/.ssh", "/srv/home/mallory/.ssh is gone"),
    ],
)
def test_a_release_touches_nothing_where_somebody_changed_the_account(host: PrivateHost, change: str, why: str) -> None:
    lock(host)
    assert host.sh(change).returncode == 0
    before = host.sh(SHOWN).stdout
    done = call(host, "release")
    assert done.returncode == 1
    assert f"mallory was changed since it was locked: {why}" in done.stderr
    assert host.sh(SHOWN).stdout == before


def test_of_two_runs_that_locked_an_account_the_last_release_lets_it_in(host: PrivateHost) -> None:
    before = host.sh(SHOWN).stdout
    lock(host)
    lock(host, RUN="R2")
    assert call(host, "release").returncode == 0
    assert {"shut=1", "kept=1", "run:R2=1"} <= facts(host)
    assert call(host, "release", RUN="R2").returncode == 0
    assert host.sh(SHOWN).stdout == before


def test_a_release_that_was_killed_goes_on_where_it_stopped(host: PrivateHost) -> None:
    before = host.sh(SHOWN).stdout
    lock(host)
    kept = "/var/lib/recoverd/contain/accounts/mallory"
    half = f"touch {kept}/releasing; usermod -s /bin/sh mallory; mv -nT {kept}/1 $(sed -n '1s/.*\t//p' {kept}/files)"
    assert host.sh(half).returncode == 0
    assert call(host, "lock").returncode == 1, "not locked again over half of a release"
    done = call(host, "release")
    assert done.returncode == 0, done.stderr
    assert host.sh(SHOWN).stdout == before


FORKING = (
    f"setpriv --reuid mallory --regid mallory --init-groups setsid python3 {Path(__file__).parents[1] / 'forking.py'} >/dev/null &\n"
    "setsid sleep 1000 &\nsleep 0.5\n"
)


def test_processes_that_fork_while_they_are_ended_end_all_the_same(host: PrivateHost) -> None:
    left = "sleep 0.3; echo left:$(ps -o pid= -u mallory | wc -l) alive:$(kill -0 $! 2>/dev/null && echo yes)\n"
    done = call(host, "lock", before=FORKING, after=left)
    assert done.returncode == 0, done.stderr
    assert "left:0 alive:yes" in done.stdout, done.stdout + done.stderr
    ended = next(one for one in facts(host) if one.startswith("ended="))
    assert int(ended.partition("=")[2]) > 1


def test_a_root_shell_that_an_accounts_session_opened_ends_with_it(host: PrivateHost) -> None:
    # A child of the account's process that is root's, as after sudo: the shell becomes the account's, its child stays root's.
    session = """
    python3 - <<'END' &
import os, time
if os.fork() == 0:
    os.execvp("sleep", ["sleep", "1001"])
os.setresuid(*[__import__("pwd").getpwnam("mallory").pw_uid] * 3)
time.sleep(1000)
END
    sleep 0.3
    """
    done = call(host, "lock", before=session, after="sleep 0.2; ps -eo args= | grep -c '[s]leep 1001'\n")
    assert done.stdout.split()[-1] == "0", done.stdout + done.stderr


def test_keys_that_are_another_accounts_are_left_where_they_are(host: PrivateHost) -> None:
    link = """
    mkdir -p /srv/home/svc-old/.ssh; echo theirs > /srv/home/svc-old/.ssh/authorized_keys
    rm -r /srv/home/mallory/.ssh; ln -s /srv/home/svc-old/.ssh /srv/home/mallory/.ssh
    """
    assert host.sh(link).returncode == 0
    lock(host)
    assert host.sh("cat /srv/home/svc-old/.ssh/authorized_keys").stdout == "theirs\n"
    assert "shared=/srv/home/mallory/.ssh/authorized_keys" in facts(host)


def test_an_account_that_is_not_there_is_no_error(host: PrivateHost) -> None:
    assert facts(host, account="nobody-here") == {"absent=1"}
    assert call(host, "lock", "nobody-here").returncode == 0
    assert call(host, "release", "nobody-here").returncode == 0


@pytest.mark.parametrize(("account", "login"), [("root", "ops"), ("svc-old", "svc-old")])
def test_root_and_the_account_that_recoverd_logs_in_with_are_never_locked(
    host: PrivateHost, account: str, login: str
) -> None:
    done = call(host, "lock", account, LOGIN=login)
    assert done.returncode == 1
    assert f"{account} must not be locked" in done.stderr


def test_who_else_has_sudo_and_who_shares_the_uid_is_seen(host: PrivateHost) -> None:
    assert "sudo=1" not in facts(host, "look")
    more = """
    echo 'mallory ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/x
    useradd -l -M -o -u $(id -u mallory) -s /bin/sh twin
    """
    assert host.sh(more).returncode == 0
    found = facts(host, "look")
    assert {"sudo=1", "twin=twin"} <= found
    assert host.sh("echo 'svc-old ALL=(ALL) ALL' >> /etc/sudoers.d/x").returncode == 0
    assert "sudoer:svc-old=1" in facts(host, "look")


def test_a_controller_whose_epoch_is_old_locks_nobody(host: PrivateHost) -> None:
    lock(host, EPOCH="5")
    done = call(host, "lock", "svc-old", EPOCH="4")
    assert done.returncode == 97
    assert "shut=1" not in facts(host, account="svc-old")
