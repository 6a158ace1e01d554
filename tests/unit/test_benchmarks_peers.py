"""What the comparison with Patroni and repmgr makes of its turns and settings; the turns themselves need the lab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import table
from benchmarks.peers import repmgr, report, rows, sentinel, turns
from benchmarks.peers.report import FIRST, Turn, summary
from lab import Host, patroni
from recoverd.inventory import Policy

HOST = Host(lab="lab", name="db-2", octet=12, number=0, state=Path("/nonexistent"))
TURNS = (
    Turn("host loss", FIRST, 2.0, ("db-2",)),
    Turn("host loss", FIRST, 4.0, ("db-2",)),
    Turn("host loss", FIRST, 3.0, ("db-3",)),
    Turn("host loss", "Patroni, defaults", 30.0, ("db-2",)),
    Turn("host loss", "Patroni, defaults", None, (), "nothing is written any more within 150 s"),
    Turn("postmaster loss", FIRST, 6.0, ("db-2",)),
)


def summed(skipped: dict[str, str]) -> dict[str, object]:
    everybody = turns.contestants()
    versions = {one.name: "1.0" for one in everybody if one.name not in skipped}
    return summary(everybody, TURNS, versions, skipped)


def test_each_peer_is_held_against_recoverd_of_the_same_run_and_scenario() -> None:
    found = {row[0]: row[1:] for row in rows(summed({}))}
    assert found[f"host loss, {FIRST}"] == ("3.00 s (2.00–4.00), on db-2, on db-3", "< 5 s", "yes")
    assert found["host loss, Patroni, defaults"] == ("30.00 s (30.00–30.00), on db-2; 1 failed", "–", "10.0 × recoverd")
    assert found[f"postmaster loss, {FIRST}"][1:] == ("< 5 s", "no")


def test_who_cannot_be_had_is_named_with_the_reason_and_does_not_count_as_slow() -> None:
    name = "repmgrd, quickest"
    found = summed({name: "postgresql-15-repmgr cannot be installed here: no network"})
    shown = table(rows(found))
    assert f"| {name} | left out: postgresql-15-repmgr cannot be installed here: no network | – | – |" in shown
    assert name not in json.loads(json.dumps(found))["contestants"]


def test_a_scenario_that_nobody_managed_has_no_median_and_is_not_reached() -> None:
    found = summary((), [Turn("host loss", FIRST, None, (), "the run does not end within 60 s")], {}, {})
    assert rows(found) == [(f"host loss, {FIRST}", "nothing; 1 failed", "< 5 s", "no")]


def test_recoverd_stands_first_and_every_scenario_has_a_wish() -> None:
    names = [one.name for one in turns.contestants()]
    assert names[0] == FIRST
    assert len(set(names)) == len(names)
    assert set(turns.SCENARIOS) == set(report.WANTED_S)


def test_the_times_of_recoverd_are_read_from_its_policy() -> None:
    policy = Policy.model_validate(
        {"name": "lab", "probe_timeout_s": 0.5, "sentinel": {"interval_s": 2.0, "confirmations": 4}}
    )
    assert sentinel.times(policy) == {"interval_s": 2.0, "confirmations": 4, "probe_timeout_s": 0.5}


def test_repmgr_runs_on_its_own_defaults_unless_told_otherwise() -> None:
    plain = repmgr.configuration(HOST, 2, {})
    assert not any(name in plain for name in repmgr.DEFAULTS)
    assert "node_name='db-2'\nconninfo='host=10.77.0.12 " in plain
    assert "passfile=" in plain
    assert "password=" not in plain
    changed = repmgr.configuration(HOST, 2, {"reconnect_attempts": "1"})
    assert changed == plain + "reconnect_attempts='1'\n"


def test_patroni_runs_on_the_times_that_are_shown_for_it() -> None:
    for times in (patroni.DEFAULTS, patroni.QUICKEST):
        assert patroni.common(times).items() >= times.items()


@pytest.mark.parametrize(
    ("only", "measured"), [((), True), (("repmgrd",), True), (("postmaster", "quickest"), True), (("Patroni",), False)]
)
def test_only_chooses_by_scenario_or_by_name(only: tuple[str, ...], measured: bool) -> None:
    assert turns.asked_for("host loss, repmgrd, quickest", only) is measured
