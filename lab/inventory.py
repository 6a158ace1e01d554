"""The inventory of a lab: `inventories/lab` describes the default one; others get a copy with their own addresses."""

from __future__ import annotations

import re
from pathlib import Path

from lab.layout import (
    BACKUP_HOST,
    BACKUP_OCTETS,
    BUCKET,
    DEFAULT_BASE,
    DEFAULT_NAME,
    DEFAULT_NUMBER,
    SERVICE,
    Layout,
)
from recoverd.errors import Refused

SOURCE = Path(__file__).resolve().parent.parent / "inventories" / "lab"


def write(layout: Layout) -> Path:
    """Write the lab's own inventory below its state directory and return the place. Raises Refused."""
    files = sorted(SOURCE.glob("*.yaml"))
    if not files:
        raise Refused(f"the files of {SOURCE} are missing", "run the lab from a checkout of the project")
    directory = layout.state / "inventory"
    directory.mkdir(exist_ok=True)
    for file in files:
        (directory / file.name).write_text(render(file.name, file.read_text(), layout))
    if layout.backups:
        (directory / "backups.yaml").write_text(backups(layout))
    return directory


def backups(layout: Layout) -> str:
    """backups.yaml of a lab that has the sites; its keys are its own, so that no file beside the others could have it."""
    recipient = layout.secret("age-recipient").read_text().strip()
    return f"""\
backups:
  {SERVICE}:
    sites:
      - {{name: own, kind: host, host: db-2, path: /var/lib/postgresql/backups}}
      - {{name: second, kind: host, host: {BACKUP_HOST}, path: /srv/backups}}
      - name: offsite
        kind: s3
        bucket: {BUCKET}
        endpoint: {layout.s3_endpoint}
        access_key: {{file: {layout.secret("s3-access-key")}}}
        secret_key: {{file: {layout.secret("s3-secret-key")}}}
        ca_file: {layout.ca_file}
    recipients: [{recipient}]
    identity: {{file: {layout.secret("age-identity")}}}
    signing_key: {{file: {layout.secret("backup-signing.pem")}}}
    trusted_key: {layout.secret("backup-signing.pub.pem")}
    part_bytes: 1048576
    restore:
      drill_host: {BACKUP_HOST}
"""


def render(name: str, text: str, layout: Layout) -> str:
    """A file of the default lab's inventory, as it reads for another lab."""
    default = Layout(name=DEFAULT_NAME, base=DEFAULT_BASE, number=DEFAULT_NUMBER)
    text = text.replace(str(default.state), str(layout.state)).replace(f"{default.prefix}.", f"{layout.prefix}.")
    if not layout.cluster:
        return plain(name, text, layout)
    more = {"backups": tuple(BACKUP_OCTETS) if layout.backups else (), "others": layout.plain_hosts}
    if name == "hosts.yaml":
        for group, hosts in more.items():
            lines = [f"        {host}: {{ansible_host: {layout.hosts[host].address}}}\n" for host in hosts]
            text += f"    {group}:\n      hosts:\n" + "".join(lines) if hosts else ""
    if name == "fencing.yaml":
        plugs = [f"{host}: {host}" for host in ("app-1", *more["backups"], *more["others"])]
        text = text.replace("app-1: app-1", ", ".join(plugs))
    if name == "services.yaml" and layout.systemd:
        text = re.sub(r"control: \{.*\}", f"control: {{kind: systemd, unit: {layout.unit}}}", text)
    return text


def plain(name: str, text: str, layout: Layout) -> str:
    """A file of an inventory, with a lab's own paths already, for hosts that have no databases."""
    if name == "hosts.yaml":
        lines = [f"        {host.name}: {{ansible_host: {host.address}}}\n" for host in layout.hosts.values()]
        return f"{text.partition('  children:')[0]}  children:\n    web:\n      hosts:\n{''.join(lines)}"
    if name == "fencing.yaml":
        return re.sub(r"plugs: \{.*\}", f"plugs: {{{', '.join(f'{host}: {host}' for host in layout.hosts)}}}", text)
    return {"services.yaml": "services: {}\n", "alerts.yaml": text.partition("routes:")[0]}.get(name, text)
