"""What the benchmarks on the lab share: a lab made whole again, a warm recoverd, alerts, an independent witness."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lab import Lab, cluster, up
from lab.background import Background, Writer
from lab.ledger import read_ledger
from lab.processes import send, server_pids
from lab.status import survey
from recoverd.journal import Journal, RunRow

SERVICE = "orders-db"
READY_TIMEOUT_S = 180.0  # on a busy machine; nothing is measured meanwhile
RECOVERD = (sys.executable, "-c", "from gateway.cli.main import main; main()")
RUN_TIMEOUT_S = 60.0
WRITE_TIMEOUT_S = 60.0
PATIENCE_S = (0.11, 0.13, 0.15, 0.17)
SPARE_REFILLED_S = 4.0  # a spare that takes the place of the one that was used has done its first look by then


@contextmanager
def own_lab(directory: Path, name: str = "bench", probe_timeout_s: float | None = None) -> Iterator[Lab]:
    """A lab of our own, taken away at the end.

    Its policy is that of `inventories/lab`, without a cooldown, for the turns follow each other at once.
    """
    os.environ["RECOVERD_LAB_DIR"] = str(directory)
    lab = up(name)
    try:
        policies = lab.inventory / "policies.yaml"
        text = policies.read_text().replace("cooldown_s: 600", "cooldown_s: 0")
        if probe_timeout_s is not None:
            text = re.sub(r"probe_timeout_s: [\d.]+", f"probe_timeout_s: {probe_timeout_s:g}", text)
        policies.write_text(text)
        yield lab
    finally:
        Lab.remove(name)


def make_whole(lab: Lab) -> None:
    """db-1 primary, two standbys that stream, the address on db-1: on the same hosts, with the same keys."""
    for host in lab.layout.databases:
        if not lab.is_on(host.name):
            lab.power_on(host.name)
        for pid in server_pids(host):
            send(pid, signal.SIGKILL)
        _until(lambda host=host: not server_pids(host), 10, f"{host.name} does not stop")  # type: ignore[misc]
        clean = "find /var/lib/postgresql/data /run/postgresql -mindepth 1 -delete; rm -f /var/lib/recoverd/*"
        lab.run(host.name, f"ip addr del {lab.layout.virtual_address}/24 dev eth0 2>/dev/null; {clean}")
    cluster.create(lab.layout)
    roles = [host.postgresql for host in survey(lab.layout).hosts if host.postgresql != "none"]
    assert roles == ["primary", "standby", "standby"], roles


class Controller:
    """A `recoverd serve` as a user starts it: gateway, runner, warm spares and an embedded Prefect server."""

    def __init__(self, lab: Lab, home: Path, *, sentinel: bool = False) -> None:
        self.lab, self.home, self.port = lab, home, free_port()
        self.environment = {
            **os.environ,
            "RECOVERD_HOME": str(home),
            "RECOVERD_INVENTORY": str(lab.inventory),
            "RECOVERD_LISTEN_PORT": str(self.port),
            "RECOVERD_PREFECT_PORT": str(free_port()),
        }
        self._flags = ["--sentinel" if sentinel else "--no-sentinel"]
        self._process: subprocess.Popen[bytes] | None = None
        self._runs = 0
        self.log = home.with_suffix(".log")

    def __enter__(self) -> Controller:
        argv = [*RECOVERD, "serve", *self._flags]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            _until(self._is_ready, READY_TIMEOUT_S, f"recoverd is not ready, see {self.log}", every_s=0.1)
        except BaseException:  # `with` does not end what it could not begin
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(90)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise

    def journal(self) -> Journal:
        """Its journal, opened by us."""
        return Journal.open(f"sqlite:///{self.home / 'journal.db'}")

    @property
    def pid(self) -> int:
        """That of its first process."""
        assert self._process is not None
        return self._process.pid

    def command(self, *arguments: str, check: bool = True) -> None:
        """Run a command of `recoverd` against it."""
        argv = [*RECOVERD, *arguments]
        subprocess.run(
            argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=check,
        )

    def alert(self, host: str = "db-1") -> float:
        """POST what Alertmanager would; gives the time just before, in seconds since the epoch."""
        body = json.dumps(message(self.lab.host(host).address)).encode()
        token = self.lab.layout.secret("alertmanager").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/alerts/alertmanager"
        began = time.time()
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            assert answer.status == 202, answer.status
        return began

    def newest_run(self) -> RunRow:
        """The run that was started since the last call, when it has ended."""
        journal = self.journal()
        try:
            _until(lambda: len(journal.list_runs()) > self._runs, RUN_TIMEOUT_S, "no run was started")
            _until(lambda: journal.list_runs(limit=1)[0].ended, RUN_TIMEOUT_S, "the run does not end")
            self._runs = len(journal.list_runs())
            return journal.list_runs(limit=1)[0]
        finally:
            journal.close()

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"recoverd ended, see {self.log}: {self.log.read_text()[-800:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def message(address: str) -> dict[str, Any]:
    """An alert of Alertmanager's that says PostgreSQL on an address is down, since now."""
    now = datetime.now(timezone.utc).isoformat()
    labels = {"alertname": "PostgresDown", "service": SERVICE, "instance": address}
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": {},
        "startsAt": now,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "c6eadffa33fcdf37",
    }
    return {"version": "4", "status": "firing", "receiver": "recoverd", "truncatedAlerts": 0, "alerts": [alert]}


class Witness:
    """Writers on app-1. When the first of them commits, users are served.

    One alone tries again every 0.15 s or so while nobody answers, and would see a recovery that much too late. Several
    of unlike patience see it within some 0.04 s.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers

    def times(self) -> list[float]:
        """When commits were acknowledged, in order; seconds since the epoch."""
        return sorted(at for writer in self._writers for at in read_ledger(writer.ledger).acknowledged.values())

    def first_after(self, moment: float, limit_s: float = WRITE_TIMEOUT_S) -> float:
        """Seconds from a moment to the first commit after it, waited for. Raises TimeoutError."""
        deadline = time.monotonic() + limit_s
        while True:
            found = next((at for at in self.times() if at > moment), None)
            if found is not None:
                return found - moment
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing is written any more within {limit_s:g} s")
            time.sleep(0.1)

    def gap_after(self, moment: float) -> tuple[float, float]:
        """The longest time without a commit that ends after a moment: the last one before it, the first one after."""
        self.first_after(time.time())
        gaps = [(later - earlier, earlier, later) for earlier, later in itertools.pairwise(self.times())]
        _, before, after = max(gap for gap in gaps if gap[2] > moment)
        return before, after


@contextmanager
def written(lab: Lab, directory: Path, *, load: bool, through: str = "virtual-address") -> Iterator[Witness]:
    """Writers on app-1, and beside them pgbench, where `load` is asked for.

    Args:
        through: "virtual-address", or "libpq" for trying all members in turn.
    """
    with ExitStack() as stack:
        writers: list[Writer] = []
        for patience_s in PATIENCE_S:
            ledger = directory / f"ledger-{time.monotonic_ns()}.jsonl"
            writer = Writer(lab.layout, ledger, through=through, deadline_s=patience_s, interval_s=0.02)
            writers.append(stack.enter_context(writer))
            _until(lambda writer=writer: writer.acknowledged() > 10, 20, "the writer does not write")  # type: ignore[misc]
        if load:
            stack.enter_context(pgbench(lab, directory))
        yield Witness(writers)


@contextmanager
def pgbench(lab: Lab, directory: Path) -> Iterator[None]:
    """pgbench with four clients on app-1 through the virtual address, started again whenever it loses its server."""
    program = lab.layout.server_dir / "bin/pgbench"
    password = lab.layout.secret("app").read_text().strip()
    where = f"-h {lab.layout.virtual_address} -U app orders"
    environment = f"export PGPASSWORD='{password}' PGCONNECT_TIMEOUT=2 PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    if (lib := lab.layout.server_dir / "lib").is_dir():
        environment += f" LD_LIBRARY_PATH={lib}"
    made = directory / f"pgbench-{time.monotonic_ns()}"
    script = (
        f"{environment}; {program} -q -i -s 5 {where} && : >{made} && "
        f"while :; do {program} -n -c 4 -j 1 -T 600 {where}; sleep 0.1; done"
    )
    with Background(lab.layout, ["sh", "-c", script], log=directory / "pgbench.log", host="app-1"):
        _until(made.exists, 60, f"pgbench does not start, see {directory / 'pgbench.log'}")
        time.sleep(3)  # under load for a while, so that the standbys have something to replay
        yield


def wait_for_run(recoverd: Controller) -> RunRow:
    """The newest run, when it has ended well."""
    run = recoverd.newest_run()
    assert run.state == "succeeded", run.summary
    return run


def figures(seconds: Sequence[float]) -> dict[str, float | int]:
    """Median, least and greatest of some durations, in seconds."""
    return {
        "count": len(seconds),
        "median_s": round(statistics.median(seconds), 3),
        "min_s": round(min(seconds), 3),
        "max_s": round(max(seconds), 3),
    }


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _until(so: Callable[[], bool], limit_s: float, otherwise: str, every_s: float = 0.02) -> None:
    deadline = time.monotonic() + limit_s
    while not so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {limit_s:g} s")
        time.sleep(every_s)
