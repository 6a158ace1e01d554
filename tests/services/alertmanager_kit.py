"""A real Alertmanager, and gateways as processes of their own, for the tests of the alert intake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from gateway.again import AGAIN_AFTER_S

DATA = Path(__file__).parents[1] / "data" / "alerts"
TOKEN = "a-token-of-the-test"
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
BEARER = {"authorization": f"Bearer {TOKEN}"}


class Process:
    """A child with its output in a file, ended by its own id."""

    def __init__(self, argv: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait(self, timeout_s: float) -> int:
        return self._popen.wait(timeout_s)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait(10)

    def end(self, timeout_s: float = 30) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def answers(self, url: str, timeout_s: float = 20) -> None:
        """Wait until the address answers well."""

        def asked() -> bool:
            assert self._popen.poll() is None, self.log.read_text()
            try:
                return httpx.get(url, timeout=2, trust_env=False).is_success
            except httpx.TransportError:
                return False

        eventually(asked, timeout_s, self.log.read_text)


class Gateway(Process):
    """The HTTP door, the intake and the pollers on a journal; without Prefect."""

    def __init__(
        self,
        directory: Path,
        port: int,
        log: str = "gateway.log",
        address: str | None = None,
        again_after_s: float = AGAIN_AFTER_S,
    ) -> None:
        script = Path(__file__).with_name("gateway_child.py")
        where = address or f"sqlite:///{directory / 'journal.db'}"
        argv = [sys.executable, str(script), str(directory / "inventory"), where, str(port), str(again_after_s)]
        super().__init__(argv, directory / log, {"RECOVERD_HOME": str(directory)})
        self.url = f"http://127.0.0.1:{port}"
        self.answers(f"{self.url}/readyz")

    def post(self, body: Any, source: str = "alertmanager", headers: Mapping[str, str] = BEARER) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"{self.url}/alerts/{source}"
        return httpx.post(url, content=content, headers=dict(headers), timeout=20, trust_env=False)


class Alertmanager(Process):
    """Debian's Alertmanager on the loopback interface, alone, that sends to a gateway's port."""

    def __init__(self, directory: Path, port: int, gateway_port: int, max_alerts: int = 0) -> None:
        directory.mkdir(exist_ok=True)
        receiver = {
            "url": f"http://127.0.0.1:{gateway_port}/alerts/alertmanager",
            "max_alerts": max_alerts,
            "http_config": {"authorization": {"type": "Bearer", "credentials": TOKEN}},
        }
        config = {
            "route": {"receiver": "recoverd", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s"},
            "receivers": [{"name": "recoverd", "webhook_configs": [receiver]}],
        }
        (directory / "alertmanager.yml").write_text(json.dumps(config))  # JSON is YAML
        argv = [
            str(ALERTMANAGER),
            f"--config.file={directory / 'alertmanager.yml'}",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        super().__init__(argv, directory / "alertmanager.log")
        self.url = f"http://127.0.0.1:{port}"
        self.answers(f"{self.url}/-/ready")

    def fire(self, *alerts: dict[str, Any]) -> None:
        httpx.post(f"{self.url}/api/v2/alerts", json=list(alerts), timeout=5, trust_env=False).raise_for_status()


def write_inventory(
    directory: Path, poll_url: str | None = None, poll_interval_s: float = 60, procedure: str = "failover"
) -> None:
    """An inventory with two services and two sources, its secrets in files beside it."""
    root = directory / "inventory"
    root.mkdir()
    for name, value in {"token": TOKEN, "grafana-old": "old-secret", "grafana-new": "new-secret"}.items():
        (directory / name).write_text(value + "\n")
        (directory / name).chmod(0o600)
    service = {
        "kind": "postgresql",
        "members": [{"host": "db-1"}],
        "postgresql": {"data_dir": "/data", "bin_dir": "/usr/bin", "control": {"kind": "pg_ctl"}},
        "objectives": {"rto_s": 60},
    }
    bearer = {"kind": "bearer", "tokens": [{"file": str(directory / "token")}]}
    hmac = {"kind": "grafana-hmac", "secrets": [{"file": str(directory / f"grafana-{age}")} for age in ("old", "new")]}
    alertmanager = {"kind": "alertmanager", "auth": bearer}
    if poll_url:
        alertmanager |= {"poll_url": poll_url, "poll_interval_s": poll_interval_s}
    alerts = {
        "sources": {"alertmanager": alertmanager, "grafana": {"kind": "grafana", "auth": hmac}},
        "routes": [
            {
                "name": "postgres-down",
                "match": ['alertname="PostgresDown"'],
                "procedure": procedure,
                "target": "{labels.service}",
                "mode": "act",
            }
        ],
    }
    files = {
        "hosts.yaml": {"all": {"hosts": {"db-1": {"ansible_host": "127.0.0.1"}}}},
        "services.yaml": {"services": {"orders": service, "billing": service}},
        "alerts.yaml": alerts,
    }
    for name, content in files.items():
        (root / name).write_text(json.dumps(content))


def down(service: str = "orders", **labels: str) -> dict[str, Any]:
    """An alert as Prometheus gives it to Alertmanager."""
    return {
        "labels": {"alertname": "PostgresDown", "service": service, **labels},
        "annotations": {"summary": f"the primary of {service} does not answer"},
    }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def eventually(condition: Callable[[], object], timeout_s: float, explain: Callable[[], object] = lambda: "") -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {explain()}"
        time.sleep(0.05)
