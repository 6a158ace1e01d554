"""The fixtures themselves: one module's must not reach into another's tests, in whatever order a worker gets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PREFECT = '''
import os
import prefect_fixtures
from prefect_fixtures import installation


class Server:
    """Stands for the real one, which takes half a minute on a busy machine: this is about the environment alone."""

    url = "http://127.0.0.1:1/api"

    def __init__(self, home, port):
        (home / "prefect").mkdir()
        (home / "prefect" / "auth").write_text("admin:x")

    def start(self): ...
    def stop(self): ...
    def ready(self, timeout_s): ...


prefect_fixtures.PrefectServer = Server


def test_with_prefect(installation):
    assert "RECOVERD_LAB_DIR" not in os.environ
'''


def test_the_labs_of_a_session_stand_where_they_stood_also_after_a_test_with_prefect(tmp_path: Path) -> None:
    (tmp_path / "test_between.py").write_text(PREFECT)
    lab = "tests/lab/test_lab_down.py::test_a_lab_that_is_not_there_is_refused"
    other = "tests/lab/test_lab_down.py::test_a_waiter_says_who_is_at_work"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", lab, str(tmp_path / "test_between.py"), other]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "RECOVERD_"))}
    environment = {**kept, "PYTHONPATH": str(Path(__file__).parent)}
    ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
