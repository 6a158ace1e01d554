"""Running the command line in this process, with a home and an inventory of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import run
from recoverd import person
from recoverd.journal import Journal
from recoverd.settings import settings

LAB = Path(__file__).parents[2] / "inventories" / "lab"
TOKEN_OF_LEAD = "lead-of-the-lab"


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Calls commands as root of the lab's inventory, who is its operator."""

    def __init__(self, home: Path, inventory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.inventory, self._capsys = home, inventory, capsys
        self._journal: Journal | None = None

    def __call__(self, *arguments: str) -> Ran:
        self._capsys.readouterr()
        code = run(arguments)
        said = self._capsys.readouterr()
        return Ran(code, said.out, said.err)

    @property
    def journal(self) -> Journal:
        if self._journal is None:
            self._journal = Journal.open(f"sqlite:///{self.home / 'journal.db'}")
        return self._journal

    def queue(self, *more: str) -> str:
        """A run that waits for an executor; its id."""
        ran = self("run", "failover", "orders-db", "--reason", "a test", "--queue", "-o", "json", *more)
        assert ran.code == 0, ran.err
        return str(ran.data["id"])


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    home, inventory = tmp_path / "home", tmp_path / "inventory"
    home.mkdir(mode=0o700)
    shutil.copytree(LAB, inventory)
    for name in (
        "RECOVERD_DEBUG",
        "RECOVERD_OUTPUT",
        "RECOVERD_JOURNAL_URL",
        "RECOVERD_USER_TOKEN_FILE",
        "RECOVERD_CONFIG",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECOVERD_HOME", str(home))
    monkeypatch.setenv("RECOVERD_INVENTORY", str(inventory))
    monkeypatch.setattr(person, "login_user", lambda: "root")
    made = Cli(home, inventory, capsys)
    yield made
    if made._journal is not None:
        made._journal.close()
    settings.cache_clear()


@pytest.fixture
def as_lead(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the person is the lead, by token."""
    token = tmp_path / "token"
    token.write_text(TOKEN_OF_LEAD)
    token.chmod(0o600)
    monkeypatch.setenv("RECOVERD_USER_TOKEN_FILE", str(token))
