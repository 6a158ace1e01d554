"""A real Alertmanager beside the lab, and alerts put into it the way a monitoring system does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import httpx
from ruamel.yaml import YAML

from lab.background import Background
from lab.layout import Layout
from lab.needs import find_tool
from recoverd.errors import Refused, TimedOut, Unproven

PORT = 9093


class Alertmanager(Background):
    """Debian's Alertmanager on the controller's address, which posts to a webhook at once.

    Args:
        layout: The lab.
        webhook: Where alerts are posted to.
        token_file: File with the bearer token of the webhook; the lab's own by default.
        port: Port of its API.
        directory: Where it keeps its configuration, data and log; below the lab's state by default.
    """

    def __init__(
        self, layout: Layout, webhook: str, *, token_file: Path | None = None, port: int = PORT,
        directory: Path | None = None,
    ) -> None:  # fmt: skip
        program = find_tool("prometheus-alertmanager") or find_tool("alertmanager")
        if program is None:
            raise Refused("there is no Alertmanager on this machine", "apt-get install prometheus-alertmanager")
        directory = directory or layout.state / "alertmanager"
        directory.mkdir(exist_ok=True)
        config = directory / "alertmanager.yml"
        with config.open("w") as file:
            YAML().dump(configuration(webhook, token_file or layout.secret("alertmanager")), file)
        self.url = f"http://{layout.controller}:{port}"
        listen = f"--web.listen-address={layout.controller}:{port}"
        options = [f"--config.file={config}", f"--storage.path={directory}/data", "--cluster.listen-address="]
        super().__init__(layout, [program, *options, listen], log=directory / "alertmanager.log")
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self, *, timeout_s: float = 15) -> None:
        """Wait for its API. Raises Unproven if it ended, TimedOut."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                raise Unproven("Alertmanager ended right after its start", f"see {self.log}")
            try:
                if httpx.get(f"{self.url}/-/ready", timeout=1, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise TimedOut(f"Alertmanager is not ready after {timeout_s:g} s", f"see {self.log}")

    def fire(self, labels: Mapping[str, str], **options: object) -> None:
        """Put an alert in; see `post_alert`."""
        post_alert(self.url, labels, **options)  # type: ignore[arg-type]

    def resolve(self, labels: Mapping[str, str], starts_at: datetime) -> None:
        """End the alert that began at `starts_at`."""
        post_alert(self.url, labels, starts_at=starts_at, ends_at=datetime.now(timezone.utc))


def configuration(webhook: str, token_file: Path) -> dict[str, object]:
    """Every alert a group of its own, sent at once, resolved ones too."""
    receiver = {
        "name": "recoverd",
        "webhook_configs": [
            {
                "url": webhook,
                "send_resolved": True,
                "http_config": {"authorization": {"type": "Bearer", "credentials_file": str(token_file)}},
            }
        ],
    }
    route = {
        "receiver": "recoverd",
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    return {"route": route, "receivers": [receiver]}


def post_alert(
    url: str, labels: Mapping[str, str], *, annotations: Mapping[str, str] | None = None,
    starts_at: datetime | None = None, ends_at: datetime | None = None, timeout_s: float = 5,
) -> datetime:  # fmt: skip
    """Put an alert into Alertmanager's API v2 as Prometheus does. Returns its startsAt. Raises httpx.HTTPError."""
    starts_at = starts_at or datetime.now(timezone.utc)
    alert: dict[str, object] = {
        "labels": dict(labels),
        "annotations": dict(annotations or {}),
        "startsAt": starts_at.isoformat(),
        "generatorURL": "http://prometheus.lab/graph",
    }
    if ends_at is not None:
        alert["endsAt"] = ends_at.isoformat()
    httpx.post(f"{url}/api/v2/alerts", json=[alert], timeout=timeout_s, trust_env=False).raise_for_status()
    return starts_at


def down_labels(layout: Layout, service: str) -> dict[str, str]:
    """The labels of the alert that the service's primary is down."""
    return {
        "alertname": "PostgresDown",
        "service": service,
        "instance": f"{layout.virtual_address}:5432",
        "severity": "critical",
    }
