"""`serve` as a whole: nothing is taken before all is ready, an alert runs a procedure, and the end is in good order."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import httpx
from alertmanager_kit import BEARER, DATA, Process, eventually, free_port, write_inventory

from recoverd.journal import Journal

FIRING = (DATA / "alertmanager-0.25-firing.json").read_bytes()
HERE = Path(__file__).parent


def test_serve_takes_alerts_when_all_is_ready_and_ends_in_good_order(tmp_path: Path):
    write_inventory(tmp_path, procedure="nothing")
    port, prefect_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    house = started(tmp_path, "serve.log", port, prefect_port)
    try:
        house.answers(f"{url}/livez")
        early = httpx.get(f"{url}/readyz", trust_env=False)
        assert (early.status_code, early.json()["gate"]) == (503, "recoverd is starting or ending")
        assert post(url).status_code == 503
        house.answers(f"{url}/readyz", timeout_s=60)
        assert f"recoverd takes alerts on {url}/alerts/" in house.log.read_text()
        refuses_a_second(tmp_path, house.pid)
        taken = post(url)
        assert taken.status_code == 202, house.log.read_text()
        journal = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
        (run,) = taken.json()["runs"]
        eventually(lambda: journal.get_run(run).state == "succeeded", 20, house.log.read_text)
        journal.close()
    finally:
        house.end(timeout_s=30)
    assert house.wait(1) == 0, house.log.read_text()


def refuses_a_second(home: Path, holder: int) -> None:
    second = started(home, "second.log", free_port(), free_port())
    assert second.wait(20) == 6
    assert f"another recoverd serve (process {holder}) works in {home}" in second.log.read_text()


def post(url: str) -> httpx.Response:
    return httpx.post(f"{url}/alerts/alertmanager", content=FIRING, headers=BEARER, timeout=20, trust_env=False)


def started(home: Path, log: str, port: int, prefect_port: int) -> Process:
    argv = [sys.executable, str(HERE / "serve_child.py"), str(home / "inventory"), str(port), str(prefect_port)]
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    return Process(argv, home / log, {"RECOVERD_HOME": str(home), "PYTHONPATH": paths, "PREFECT_API_URL": ""})
