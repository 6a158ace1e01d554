"""What the keeper says: a trouble once when it begins and once when it is over, with an alert where people must act."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from flows.standing import SiteStanding, Standing
from gateway.alerts_model import Alert, Sender, Verdict
from gateway.keeper import Keeper, wanted
from recoverd.inventory import load
from recoverd.journal import Journal

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example"


class Intake:
    def __init__(self) -> None:
        self.got: list[Alert] = []

    def accept(self, source: Sender, alerts: Sequence[Alert]) -> list[Verdict]:
        self.got += alerts
        return []


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield made
    made.close()


def standing(state: str = "receives", **site: object) -> Standing:
    one = SiteStanding.model_validate({"site": "west", "reached": True, "behind_s": 0.0, **site})
    return Standing(service="shop", receiver="west", state=state, sites=(one,))


def test_a_trouble_is_noted_when_it_begins_and_when_it_is_over(journal: Journal) -> None:
    intake = Intake()
    keeper = Keeper("shop", load(EXAMPLE), intake, journal)
    for now in (standing(), standing(behind_s=99.0), standing(behind_s=120.0), standing(), standing("waits")):
        keeper.tell(now)
    noted = [(entry.body["what"], entry.body["trouble"]) for entry in journal.entries(kinds=["wal.changed"])]
    assert noted == [("began", "lag west"), ("ended", "lag west"), ("began", "receiver")]
    assert [(alert.labels["alertname"], alert.status) for alert in intake.got] == [
        ("RecoverdWalLag", "firing"),
        ("RecoverdWalLag", "resolved"),
    ]
    assert len({alert.fingerprint for alert in intake.got}) == 1


def test_each_hole_is_an_alert_of_its_own(journal: Journal) -> None:
    intake = Intake()
    keeper = Keeper("shop", load(EXAMPLE), intake, journal)
    keeper.tell(standing(holes=("000000010000000000000005",)))
    keeper.tell(standing(holes=("000000010000000000000005", "000000010000000000000009")))
    assert [alert.labels["alertname"] for alert in intake.got] == ["RecoverdWalHole"] * 2
    assert len({alert.fingerprint for alert in intake.got}) == 2


def test_only_services_with_a_host_to_receive_are_kept() -> None:
    inventory = load(EXAMPLE)
    assert wanted(inventory) == ["shop"]
    backup = inventory.backup_of("shop")
    off = backup.model_copy(update={"wal": backup.wal.model_copy(update={"enabled": False})})
    assert wanted(inventory.model_copy(update={"backups": {"shop": off}})) == []
