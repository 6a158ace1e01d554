"""The hosts of a lab: their files before the first boot, power, and commands inside them.

What a server or a site of backups keeps stands on an ext4 image behind a loop device, so that a full disk is a real one,
fsync costs what it costs, and the data outlives a power-off (it is mounted outside the host). Measured on two cores with a
virtual disk: making and mounting the image takes 15 ms, one fsync 0.23 ms (0.14 ms on the bare disk); a tmpfs answers
fsync in no time at all, which would flatter every failover, so it is the fallback where there are no loop devices.
"""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from lab import units
from lab.layout import Host, Layout
from lab.network import write_cable
from lab.shell import CommandFailed, Ran, call
from recoverd.errors import Refused, TimedOut

SCRIPTS = Path(__file__).resolve().parent / "scripts"
LEAD_TOKEN = "lead-of-the-lab"  # noqa: S105 - known to all: inventories/lab/people.yaml holds its hash
SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
X11Forwarding no
MaxStartups 300:30:600
MaxSessions 300
LoginGraceTime 20
Subsystem sftp internal-sftp
"""


def prepare(layout: Layout, host: Host) -> None:
    """Make everything that a host needs to boot: disks, private directories, keys, the power switch's files."""
    for name in ("etc", "root/.ssh", "recoverd", "postgresql", "srv", *host.disks):
        (host.dir / name).mkdir(parents=True, exist_ok=True)
    for name in host.disks:
        make_disk(layout, host, name)
    if layout.cluster:
        (host.dir / "postgresql/programs").mkdir()
        (host.dir / "postgresql/server").symlink_to(Path("programs") / layout.server_dir.relative_to(layout.programs))
        (host.dir / "programs").write_text(f"{layout.programs}\n")
    make_etc(layout, host)
    (host.dir / "root").chmod(0o700)
    (host.dir / "root/.ssh").chmod(0o700)
    for name in (".bashrc", ".profile"):  # Debian's bash reads .bashrc for SSH commands too
        (host.dir / "root" / name).touch()
    shutil.copy(layout.state / "keys/client.pub", host.dir / "root/.ssh/authorized_keys")
    write_cable(layout, host)
    facts = {"device": host.device, "namespace": host.namespace, "base": layout.base, "init": SCRIPTS / "init.sh"}
    (host.dir / "power").write_text("".join(f"{key}={shlex.quote(str(value))}\n" for key, value in facts.items()))


def make_disk(layout: Layout, host: Host, name: str) -> None:
    """Mount a file system of the host's where its first process finds it, and give it to its owner."""
    mount = host.dir / name
    size_mb = layout.disk_mb if name == "postgresql" else layout.backup_disk_mb
    if layout.disk == "tmpfs":
        call(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "lab", str(mount)], state=layout.state)
    else:
        image = host.dir / f"{mount.name}.img"
        with image.open("wb") as file:
            file.truncate(size_mb << 20)
        quick = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        call(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", quick, str(image)], state=layout.state)
        call(["mount", "-o", "loop,noatime", str(image), str(mount)], state=layout.state)
    if name == "postgresql":
        (mount / "data").mkdir(mode=0o700)
        shutil.chown(mount / "data", "postgres", "postgres")
    if name != "srv/objects":
        shutil.chown(mount, "postgres", "postgres")


def make_etc(layout: Layout, host: Host) -> None:
    """A private /etc: a copy of the machine's with the host's own name, peers and SSH identity.

    In memory, mounted outside of the host, so that it outlives a power-off: a disk takes 0.3 s of the processor for a thousand
    small files, soon after as many were removed from it.
    """
    etc = host.dir / "etc"
    call(["mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "lab", str(etc)], state=layout.state)
    call(["cp", "-a", "--no-target-directory", "/etc", str(etc)], state=layout.state)
    shutil.rmtree(etc / "ssh", ignore_errors=True)
    (etc / "ssh").mkdir()
    (etc / "ssh/sshd_config").write_text(sshd_config(layout))
    make_key(layout, etc / "ssh/ssh_host_ed25519_key", host.name)
    for name in (
        "hosts",
        "hostname",
        "resolv.conf",
    ):  # a link or a bind mount of the machine's would be written through
        (etc / name).unlink(missing_ok=True)
    (etc / "rcS.d").mkdir(exist_ok=True)
    (etc / "resolv.conf").touch()  # there is no name server in here: an empty list fails at once
    (etc / "hostname").write_text(f"{host.name}\n")
    peers = "".join(f"{peer.address} {peer.name}\n" for peer in layout.hosts.values())
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{layout.controller} controller\n{peers}")
    shadow = etc / "shadow"  # sshd without PAM refuses an account whose password is locked with "!"
    lines = [line.replace("root:!", "root:", 1) for line in shadow.read_text().splitlines()]
    shadow.write_text("\n".join(line.replace("root::", "root:*:", 1) for line in lines) + "\n")
    if layout.supervisor and host.is_database:
        (etc / "recoverd-lab").mkdir()
        shutil.copy(SCRIPTS / "supervise.sh", etc / "recoverd-lab/supervise.sh")
    if layout.systemd and host.is_database:
        units.write(layout, host, etc)


def sshd_config(layout: Layout) -> str:
    """sshd's configuration; from 9.8 on it would shut out a controller that tried a wrong key, for all its keys."""
    said = call(["sshd", "-V"], state=layout.state, check=False).err
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    penalties = version is not None and (int(version[1]), int(version[2])) >= (9, 8)
    return SSHD_CONFIG + ("PerSourcePenalties no\n" if penalties else "")


def make_keys(layout: Layout) -> None:
    """The controller's side: a client key, passwords and tokens that the inventory refers to."""
    for name in ("keys", "secrets", "hosts"):
        (layout.state / name).mkdir(exist_ok=True)
    make_key(layout, layout.state / "keys/client", f"recoverd@{layout.name}")
    words = {name: secrets.token_urlsafe(24) for name in ("postgres", "replicator", "app", "alertmanager")}
    for name, word in {**words, "lead": LEAD_TOKEN}.items():
        write_secret(layout.secret(name), f"{word}\n")
    shutil.copy(SCRIPTS / "power.sh", layout.state / "power")
    (layout.state / "power").chmod(0o755)


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads, at no moment anybody else."""
    path.touch(mode=0o600)
    path.write_text(text)


def make_key(layout: Layout, path: Path, comment: str) -> None:
    """An ed25519 key pair without a passphrase."""
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], state=layout.state)


def write_known_hosts(layout: Layout) -> None:
    """The host keys as the controller knows them, and an ssh_config for people: `ssh -F <state>/ssh_config db-1`."""
    keys = {host: (host.dir / "etc/ssh/ssh_host_ed25519_key.pub").read_text() for host in layout.hosts.values()}
    known = layout.state / "known_hosts"
    known.write_text("".join(f"{host.name},{host.address} {' '.join(key.split()[:2])}\n" for host, key in keys.items()))
    common = (
        f"  User root\n  IdentityFile {layout.state}/keys/client\n  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n"
    )
    entries = [f"Host {host.name}\n  HostName {host.address}\n" for host in keys]
    (layout.state / "ssh_config").write_text("".join(entries) + f"Host *\n{common}  StrictHostKeyChecking yes\n")


def power(layout: Layout, host: Host, action: str) -> int:
    """Use the power switch, which is also the inventory's fence device. 0 done or on, 2 off. Raises CommandFailed."""
    switch = layout.state / "power"
    if not switch.exists():
        raise Refused(f"there is no lab called {layout.name}", "start one with `recoverd lab up`")
    ran = call(["sh", str(switch)], state=layout.state, stdin=f"action={action}\nplug={host.name}\n", check=False)
    if ran.code not in (0, 2):
        raise CommandFailed(f"power {action} of {host.name} failed: {ran.err.strip() or ran.code}")
    return ran.code


def init_pid(host: Host) -> int | None:
    """The pid of a host's first process on the machine, or None while the host is off."""
    try:
        pid, born = (host.dir / "init").read_text().split()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return int(pid) if fields[19] == born and fields[0] not in "ZX" else None


def run(
    layout: Layout, host: Host, command: Sequence[str] | str, *, user: str = "root", timeout_s: float = 20,
    check: bool = True, stdin: str = "",
) -> Ran:  # fmt: skip
    """Run a command inside a host without SSH: an argument list, or a script for `sh`.

    Raises:
        Refused: The host is off.
        CommandFailed: It exited with another code than 0, and `check` is set.
        TimedOut: It took longer than `timeout_s`.
    """
    pid = init_pid(host)
    if pid is None:
        raise Refused(f"{host.name} is off", f"recoverd lab mend power-off {host.name}")
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    if user != "root":
        argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *argv]
    spaces = ["nsenter", f"--target={pid}", "--mount", "--pid", "--ipc", "--uts", "--net", "--wd=/"]
    return call([*spaces, "--", *argv], state=layout.state, timeout_s=timeout_s, check=check, stdin=stdin)


def wait_for_ssh(host: Host, *, timeout_s: float = 10) -> None:
    """Wait until the host's sshd greets. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.address, 22), timeout=0.5) as connection:
                if connection.recv(4).startswith(b"SSH"):
                    return
        except OSError:
            time.sleep(0.02)
    raise TimedOut(f"{host.name} does not answer on {host.address} port 22", f"see {host.dir}/console.log")
