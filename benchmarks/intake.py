"""How long an alert takes from POST to 202: `python -m benchmarks.intake [--rate 50] [--seconds 20] [--json FILE]`.

A gateway, a process of its own on the loopback interface, takes alerts at an even pace; each is another alert, so each
is recorded, and those for a service without a run under way start one. Times count from the moment at which the alert
was due, so that a gateway that falls behind cannot hide it. The floor is one row committed to the same disk by SQLite
alone (synchronous=FULL), measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx

TOKEN = "benchmark"  # noqa: S105 - opens a gateway on the loopback interface that lives for seconds
SERVICES = 15
READY_TIMEOUT_S = 30.0


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="recoverd-intake-", dir=options.directory) as name:
        directory = Path(name)
        floor_ms = measure_floor(directory / "floor.db")
        results = {
            label: asyncio.run(load(directory / label.replace(" ", "-"), shape)) for label, shape in _shapes(options)
        }
    report = {"rate_per_s": options.rate, "seconds": options.seconds, "floor_ms": floor_ms, "results": results}
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure_floor(path: Path, commits: int = 200) -> float:
    """The median time in milliseconds of a commit of one row, synced to disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (a TEXT)")
    times = []
    for _ in range(commits):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (?)", ("x" * 500,))
        connection.execute("COMMIT")
        times.append((time.perf_counter() - began) * 1000)
    connection.close()
    return round(statistics.median(times), 3)


Shape = Mapping[str, float]


async def load(directory: Path, shape: Shape) -> dict[str, float]:
    """Send alerts to a gateway of their own at an even pace; milliseconds from due to answered."""
    _write_inventory(directory)
    before_s = _cpu_of_children_s()
    process, url = _gateway(directory)
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30, headers=_HEADERS) as client:
            await _ready(client)
            times = await _paced(client, shape)
    finally:
        process.terminate()
        process.wait(30)
        cpu_s = _cpu_of_children_s() - before_s
    assert all(status == 202 for status, _ in times), sorted({status for status, _ in times})
    alerts = shape["requests"] * shape["alerts"]
    return {**_summary([took_ms for _, took_ms in times]), "cpu_ms_an_alert": round(cpu_s * 1000 / alerts, 2)}


def _cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _paced(client: httpx.AsyncClient, shape: Shape) -> list[tuple[int, float]]:
    began = time.perf_counter() + 0.2

    async def one(number: int) -> tuple[int, float]:
        due = began + number * shape["every_s"]
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        answer = await client.post(
            "/alerts/alertmanager", content=_message(number, int(shape["alerts"]), int(shape["distinct"]))
        )
        return answer.status_code, (time.perf_counter() - due) * 1000

    return await asyncio.gather(*(one(number) for number in range(int(shape["requests"]))))


def _shapes(options: argparse.Namespace) -> list[tuple[str, Shape]]:
    paced = int(options.rate * options.seconds)
    return [
        ("one alert a message", {"requests": paced, "every_s": 1 / options.rate, "alerts": 1, "distinct": 1e9}),
        ("a storm of 1000, 50 distinct, at once", {"requests": 100, "every_s": 0, "alerts": 10, "distinct": 50}),
    ]


def _message(request: int, alerts: int, distinct: int) -> bytes:
    numbers = [(request * alerts + each) % distinct for each in range(alerts)]
    since = datetime.now(timezone.utc).strftime("%Y-%m-%dT00:00:00.000Z")
    entries = [
        {
            "status": "firing",
            "labels": {
                "alertname": "PostgresDown",
                "service": f"service-{number % SERVICES}",
                "instance": f"db-{number}",
            },
            "annotations": {"summary": "the primary does not answer", "description": "PostgreSQL is down " * 10},
            "startsAt": since,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": f"{number:016x}",
        }
        for number in numbers
    ]
    return json.dumps({"version": "4", "truncatedAlerts": 0, "status": "firing", "alerts": entries}).encode()


def _summary(times_ms: list[float]) -> dict[str, float]:
    ordered = sorted(times_ms)

    def at(share: float) -> float:
        return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)

    return {"count": len(ordered), "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1)}


def table(report: Mapping[str, Any]) -> str:
    """The report for people."""
    head = f"{'POST to 202':40} {'count':>6} {'p50':>9} {'p95':>9} {'p99':>9} {'max':>9} {'p50/floor':>10}"
    lines = [
        f"{report['rate_per_s']:g} alerts/s for {report['seconds']:g} s; floor: one commit {report['floor_ms']} ms",
        head,
    ]
    for label, found in report["results"].items():
        cells = " ".join(f"{found[key]:6.1f} ms" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
        lines.append(f"{label:40} {found['count']:6} {cells} {found['p50_ms'] / report['floor_ms']:9.1f}x")
    return "\n".join(lines)


_HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}


async def _ready(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            if (await client.get("/readyz")).is_success:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        if time.monotonic() > deadline:
            raise TimeoutError("the gateway was not ready in time")
        await asyncio.sleep(0.05)


def _gateway(directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    from gateway.listener import listening

    listener = listening("127.0.0.1", 0)
    argv = [sys.executable, "-m", "benchmarks.intake_gateway", str(directory), str(listener.fileno())]
    environment = {**os.environ, "TOKEN": TOKEN, "RECOVERD_HOME": str(directory)}
    process = subprocess.Popen(argv, pass_fds=[listener.fileno()], env=environment)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    return process, url


def _write_inventory(directory: Path) -> None:
    directory.mkdir()
    service = {
        "kind": "postgresql",
        "members": [{"host": "db-1"}],
        "postgresql": {"data_dir": "/data", "bin_dir": "/usr/bin", "control": {"kind": "pg_ctl"}},
        "objectives": {"rto_s": 60},
    }
    source = {"kind": "alertmanager", "auth": {"kind": "bearer", "tokens": [{"env": "TOKEN"}]}}
    route = {
        "name": "down",
        "match": ['alertname="PostgresDown"'],
        "procedure": "failover",
        "target": "{labels.service}",
        "mode": "act",
    }
    files: dict[str, Any] = {
        "hosts.yaml": {"all": {"hosts": {"db-1": {"ansible_host": "127.0.0.1"}}}},
        "services.yaml": {"services": {f"service-{number}": service for number in range(SERVICES)}},
        "alerts.yaml": {"sources": {"alertmanager": source}, "routes": [route]},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=50, help="alerts a second")
    parser.add_argument("--seconds", type=float, default=20, help="how long")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--directory", type=Path, help="where the journals lie for the time of the run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
