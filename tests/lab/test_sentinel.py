"""recoverd's own eyes: quick when the primary is down, silent when only one side cannot see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from failover_kit import SERVICE, Controller
from lab_kit import eventually

from gateway.alerts_model import Alert, Sender, Verdict
from gateway.sentinel import Sentinel
from lab import Lab
from recoverd.inventory import load

pytestmark = pytest.mark.lab


class Kept:
    """An intake that keeps what it is told."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def accept(self, source: Sender, alerts: Sequence[Alert]) -> list[Verdict]:
        assert source.trigger == "sentinel"
        self.alerts += alerts
        return [Verdict(alert.key, "recorded", "kept") for alert in alerts]

    def told(self) -> list[tuple[str, str]]:
        return [(alert.labels["alertname"], alert.status) for alert in self.alerts]


@contextmanager
def watching(recoverd: Controller, looks: list[str]) -> Iterator[Kept]:
    inventory, kept = load(recoverd.inventory), Kept()
    sentinel = Sentinel(inventory.service(SERVICE), inventory, kept, recoverd.journal, looks.append)
    sentinel.start()
    try:
        assert eventually(sentinel.ready)
        yield kept
    finally:
        sentinel.stop()


@pytest.mark.parametrize("fault", ["kill", "power-off", "freeze", "full-disk"])
def test_a_primary_that_serves_nobody_is_told_of_once_and_only_after_several_looks(
    recoverd: Controller, lab: Lab, fault: str
) -> None:
    looks: list[str] = []
    with watching(recoverd, looks) as kept:
        lab.break_(fault, "db-1")
        assert eventually(lambda: kept.told() == [("RecoverdPrimaryDown", "firing")], timeout_s=40), looks
        before = len(looks)
        assert before >= 3
        assert eventually(lambda: len(looks) >= before + 3, timeout_s=30)
    assert kept.told() == [("RecoverdPrimaryDown", "firing")]
    assert kept.alerts[0].labels["instance"] == "db-1"


def test_a_primary_that_serves_again_resolves_the_alert(recoverd: Controller, lab: Lab) -> None:
    looks: list[str] = []
    with watching(recoverd, looks) as kept:
        lab.break_("kill", "db-1")
        assert eventually(lambda: len(kept.alerts) == 1, timeout_s=20), looks
        lab.mend("kill", "db-1")
        assert eventually(lambda: len(kept.alerts) == 2, timeout_s=20), looks
    assert kept.told() == [("RecoverdPrimaryDown", "firing"), ("RecoverdPrimaryDown", "resolved")]


@pytest.mark.parametrize("peers", [("controller",), ("app-1",)])
def test_a_primary_that_only_one_side_cannot_see_is_recorded_and_not_told_of(
    recoverd: Controller, lab: Lab, peers: tuple[str, ...]
) -> None:
    looks: list[str] = []
    recorded = lambda: [entry for entry in recoverd.journal.entries(kinds=["sentinel.observed"])]  # noqa: E731, C416
    with watching(recoverd, looks) as kept:
        lab.break_("partition", "db-1", peers=peers)
        noticed = eventually(lambda: bool(recorded()), timeout_s=20) if peers == ("controller",) else True
        if peers == ("app-1",):
            assert eventually(lambda: len(looks) == 0, timeout_s=1)  # a glance does not ask the clients, nor need it
        lab.mend("partition", "db-1")
    assert noticed, looks
    assert kept.alerts == []
