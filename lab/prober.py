"""Prometheus with its blackbox exporter, in small: asks the service's address every second, fires PostgresDown.

It asks as far as PostgreSQL's first answer (to an SSLRequest), for the kernel accepts connections also for a server
that is frozen. While the alert fires it is sent again and again with the same startsAt, as Prometheus does.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import httpx

from lab.alertmanager import down_labels, post_alert
from lab.background import Background
from lab.layout import SERVICE, Layout

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def is_up(host: str, port: int, *, timeout_s: float = 0.5) -> bool:
    """Whether a PostgreSQL answers there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(SSL_REQUEST)
            return connection.recv(1) in (b"S", b"N")
    except OSError:
        return False


def watch(
    target: tuple[str, int], alertmanager: str, labels: Mapping[str, str], over: threading.Event, *,
    interval_s: float = 1.0, after_s: float = 2.0,
) -> None:  # fmt: skip
    """Probe until `over`; fire after `after_s` of failure, counted from the first failed probe; resolve later."""
    down_since: datetime | None = None
    is_firing = False
    while not over.wait(interval_s):
        now = datetime.now(timezone.utc)
        if is_up(*target):
            if is_firing and down_since is not None:
                is_firing = not send(alertmanager, labels, down_since, now)
            down_since = down_since if is_firing else None
            continue
        down_since = down_since or now
        if (now - down_since).total_seconds() >= after_s:
            is_firing = send(alertmanager, labels, down_since, None) or is_firing


def send(alertmanager: str, labels: Mapping[str, str], starts_at: datetime, ends_at: datetime | None) -> bool:
    """Tell Alertmanager; whether it took it. One that is down is told with the next probe, like Prometheus does."""
    annotations = {"summary": "PostgreSQL does not answer on the address of the service"}
    try:
        post_alert(alertmanager, labels, annotations=annotations, starts_at=starts_at, ends_at=ends_at, timeout_s=2)
    except httpx.HTTPError as error:
        print(f"Alertmanager did not take the alert: {error}", file=sys.stderr)
        return False
    return True


class Prober(Background):
    """The prober as a process on the controller."""

    def __init__(
        self,
        layout: Layout,
        alertmanager: str,
        *,
        service: str = SERVICE,
        interval_s: float = 1.0,
        after_s: float = 2.0,
    ) -> None:
        argv = [sys.executable, "-m", "lab.prober", f"--target={layout.virtual_address}:5432"]
        argv += [f"--alertmanager={alertmanager}", f"--labels={json.dumps(down_labels(layout, service))}"]
        argv += [f"--interval-s={interval_s}", f"--after-s={after_s}"]
        super().__init__(layout, argv, log=Path(layout.state / "prober.log"))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: `python -m lab.prober --target ADDRESS:PORT --alertmanager URL`; SIGTERM ends it."""
    parser = argparse.ArgumentParser(prog="lab.prober", description="probe PostgreSQL, fire PostgresDown")
    parser.add_argument("--target", required=True)
    parser.add_argument("--alertmanager", required=True)
    parser.add_argument("--labels", type=json.loads, required=True)
    parser.add_argument("--interval-s", type=float, default=1.0)
    parser.add_argument("--after-s", type=float, default=2.0)
    given = parser.parse_args(arguments)
    host, _, port = given.target.rpartition(":")
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: over.set())
    watch((host, int(port)), given.alertmanager, given.labels, over, interval_s=given.interval_s, after_s=given.after_s)


if __name__ == "__main__":
    main()
