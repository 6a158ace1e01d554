"""The script that peers run, run here on the loopback: what is reached is named, what cannot be tried too, and nothing stays."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.connections import Completed
from tasks.hosts import script
from tasks.reaching import read_said

LOCAL = "127.0.0.1"


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server((LOCAL, 0)) as listener:
        threading.Thread(target=lambda: _take(listener), daemon=True).start()
        yield listener.getsockname()[1]


def _take(listener: socket.socket) -> None:
    kept = []
    with contextlib.suppress(OSError):  # closed at the end of the test
        while True:
            kept.append(listener.accept()[0])


def closed() -> int:
    with socket.socket() as one:
        one.bind((LOCAL, 0))
        return int(one.getsockname()[1])


def reach(verb: str, *ways: str, path: Path | None = None, keep_s: int = 20) -> Completed:
    given = {
        "VERB": verb, "WAYS": "\n".join(ways), "LIMIT_S": "1", "KEEP_S": str(keep_s), "TOTAL_S": "8",
        "RUN": f"unit-{os.getpid()}", "PGDATA": "/nonexistent",
    }  # fmt: skip
    text = script("reacher+reach")
    if path is not None:
        text = text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={path}")
    done = subprocess.run(
        ["/bin/sh", "-s"], input=f"main() {{\n{text}\n}}\nmain </dev/null\n", env={**os.environ, **given}, text=True,
        capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    return Completed(done.returncode, done.stdout, done.stderr, 0.0)


def test_open_and_refused_are_reached_and_all_came_to_its_end(port: int) -> None:
    shut = closed()
    found = read_said(reach("try", f"tcp {LOCAL} {port}", f"tcp {LOCAL} {shut}"), "-")
    assert found.problem == ""
    assert found.ways["-"] == {f"tcp {LOCAL} {port}": "open", f"tcp {LOCAL} {shut}": "refused"}
    assert found.mine == (LOCAL,)


def test_of_an_address_the_first_flow_that_opens_is_kept_until_it_is_asked_for_once(port: int) -> None:
    flows = [f"flow {LOCAL} {closed()}", f"flow {LOCAL} {port}"]
    kept = read_said(reach("keep", *flows), "-")
    assert kept.of("-") == (flows[1],)
    passing = read_said(reach("pass"), "-")
    assert passing.of("-") == (flows[1],)
    assert passing.cannot == {"-": ("flow6",)}
    gone = read_said(reach("pass"), "-")
    assert (gone.of("-"), gone.cannot) == ((), {"-": ("flow4", "flow6")})


def test_a_flow_that_nobody_asks_for_ends_by_itself(port: int) -> None:
    assert read_said(reach("keep", f"flow {LOCAL} {port}", keep_s=0), "-").of("-") == (f"flow {LOCAL} {port}",)
    assert read_said(reach("pass"), "-").of("-") == ()


def test_without_python_bash_tries_the_same(port: int, tmp_path: Path) -> None:
    path = tools(tmp_path, "bash")
    shut = closed()
    found = read_said(reach("keep", f"tcp {LOCAL} {port}", f"tcp {LOCAL} {shut}", f"icmp {LOCAL}", path=path), "-")
    assert found.problem == ""
    assert found.ways["-"] == {f"tcp {LOCAL} {port}": "open", f"tcp {LOCAL} {shut}": "refused"}
    assert found.cannot["-"] == ("flow4", "flow6", "icmp4", "icmp6")


def test_ping_is_used_where_there_is_one(tmp_path: Path) -> None:
    path = tools(tmp_path, "bash")
    (path / "ping").write_text(f'#!/bin/sh\nfor one; do :; done\n[ "$one" = {LOCAL} ]\n')
    (path / "ping").chmod(0o755)
    found = read_said(reach("try", f"icmp {LOCAL}", "icmp 127.0.0.2", path=path), "-")
    assert found.of("-") == (f"icmp {LOCAL}",)
    assert found.cannot["-"] == ("flow4", "flow6")


def test_a_peer_with_no_tool_cannot_probe_which_is_no_silence(port: int, tmp_path: Path) -> None:
    found = read_said(reach("try", f"tcp {LOCAL} {port}", path=tools(tmp_path)), "-")
    assert found.of("-") == ()
    assert {"tcp4", "tcp6", "icmp4", "icmp6"} < {*found.cannot["-"]}


def tools(place: Path, *more: str) -> Path:
    """A PATH on which there is neither python3 nor ping."""
    for name in ("sh", "awk", "sort", "timeout", "ip", "id", "readlink", *more):
        found = next(Path(at, name) for at in ("/usr/bin", "/bin", "/usr/sbin", "/sbin") if Path(at, name).exists())
        (place / name).symlink_to(found)
    return place
