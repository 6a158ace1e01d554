"""The off-site of a three-site backup: SeaweedFS, a real S3 server, over TLS on s3-1."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Literal

from lab.layout import BUCKET, S3_HOST, S3_PORT, Host, Layout
from lab.machine import SCRIPTS, init_pid, run, write_secret
from lab.needs import find_weed
from recoverd.errors import TimedOut

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CA_IN_HOSTS = "/etc/ssl/certs/recoverd-lab.pem"
S3State = Literal["serving", "stopped", "no answer", "none"]


def prepare(layout: Layout, host: Host) -> None:
    """Let a host that is not booted yet trust the lab's authority; on s3-1 also lay out its server. Raises Refused."""
    trust(layout, host)
    if host.name != S3_HOST:
        return
    etc = host.dir / "etc/seaweedfs"
    etc.mkdir(mode=0o700)
    (etc / "weed").touch()  # the program is mounted here, for the machine's /root and /tmp are not the host's
    (host.dir / "weed").write_text(f"{find_weed()}\n")
    shutil.copy(SCRIPTS / "s3.sh", etc / "serve.sh")
    shutil.copy(layout.state / "tls/s3.pem", etc)
    shutil.copy(layout.state / "tls/s3.key", etc)
    write_secret(etc / "s3.json", json.dumps(identities(layout), indent=2))
    (etc / "server.conf").write_text("".join(f"{key}={value}\n" for key, value in options(host).items()))
    (etc / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 2\n")  # 7 by default: too many for a small disk


def trust(layout: Layout, host: Host) -> None:
    """Add the lab's authority to those that a host's programs trust, and leave it beside them as a file of its own."""
    bundle = host.dir / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    known = bundle.read_text() if bundle.exists() else ""
    bundle.unlink(missing_ok=True)  # a link to the machine's would be written through
    bundle.write_text(known + layout.ca_file.read_text())
    shutil.copy(layout.ca_file, host.dir / CA_IN_HOSTS.lstrip("/"))


def options(host: Host) -> dict[str, object]:
    """How the server is started. Only S3 listens on the host's address: the parts behind it ask nobody who they are."""
    return {
        "dir": "/srv/objects",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.electionTimeout": "500ms",  # of 10 s, a start would take 15
        "master.heartbeatInterval": "100ms",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 0,  # as many as fit on the disk
        "volume.minFreeSpace": 0,  # else a disk that was full stays read-only for a minute after it has room again
        "filer": "true",
        "s3": "true",
        "s3.ip.bind": host.address,
        "s3.port": S3_PORT,
        "s3.cert.file": "/etc/seaweedfs/s3.pem",
        "s3.key.file": "/etc/seaweedfs/s3.key",
        "s3.config": "/etc/seaweedfs/s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }


def identities(layout: Layout) -> dict[str, object]:
    """Who may use the server: one account, which may do everything."""
    access, secret = (layout.secret(f"s3-{kind}-key").read_text().strip() for kind in ("access", "secret"))
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    account = {"name": "recoverd", "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
    return {"identities": [account]}


def make_bucket(layout: Layout) -> None:
    """Wait for the server, and make the bucket for backups: with versions, and with object lock. Raises TimedOut."""
    wait_until_serving(layout, layout.hosts[S3_HOST])
    client(layout, timeout_s=20).create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)


def client(layout: Layout, *, timeout_s: float = 5) -> S3Client:
    """A client for the account of the lab, from the controller, straight past any proxy and with one attempt a call.

    Args:
        timeout_s: Limit for connecting, and for each answer.
    """
    import boto3  # half a second, and most labs have no backups
    from botocore.config import Config

    limits = Config(
        connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 1}, proxies={},
        signature_version="s3v4", s3={"addressing_style": "path"},
    )  # fmt: skip
    access, secret = (layout.secret(f"s3-{kind}-key").read_text().strip() for kind in ("access", "secret"))
    return boto3.client(
        "s3", endpoint_url=layout.s3_endpoint, verify=str(layout.ca_file), region_name="us-east-1", config=limits,
        aws_access_key_id=access, aws_secret_access_key=secret,
    )  # fmt: skip


def state(layout: Layout, host: Host) -> S3State:
    """What a host's S3 server is now, asked from inside the host whatever the network is doing."""
    if host.name != S3_HOST:
        return "none"
    if init_pid(host) is None:
        return "stopped"
    url = f"{layout.s3_endpoint}/healthz"
    asked = ["curl", "--silent", "--fail", "--output", "/dev/null", "--max-time", "1", "--noproxy", "*"]
    code = run(layout, host, [*asked, "--cacert", CA_IN_HOSTS, url], check=False).code
    return {0: "serving", 7: "stopped"}.get(code, "no answer")  # type: ignore[return-value]


def wait_until_serving(layout: Layout, host: Host, *, timeout_s: float = 30) -> None:
    """Wait until a host's S3 server answers, asked from inside; returns at once for hosts without. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    while state(layout, host) not in ("serving", "none"):
        if time.monotonic() > deadline:
            raise TimedOut(f"the S3 server of {host.name} does not answer after {timeout_s:g} s", f"see {log(host)}")
        time.sleep(0.1)


def log(host: Host) -> str:
    """Where the server's log stands on the machine."""
    return str(host.dir / "srv/weed.log")
