"""Incidents that recoverd raises itself, and drills by themselves: in the journal, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import copytree

import pytest
from drill_kit import drill

from deployments.drills import keep_up, scheduled
from recoverd.drills import drill_of, note_drill, past_drills
from recoverd.inventory import Inventory, load
from recoverd.journal import Journal
from recoverd.raised import close_incident, open_incidents, raise_incident

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.close()


def opened(journal: Journal, subject: str = "the drill of shop") -> str | None:
    with journal.transaction() as tx:
        return raise_incident(tx, subject, "shop", "it failed", "look", criticality="critical")


def test_of_one_subject_one_incident_is_open_until_it_is_closed(journal: Journal) -> None:
    first = opened(journal)
    assert first is not None
    assert opened(journal) is None
    assert opened(journal, "something else") is not None
    with journal.transaction() as tx:
        close_incident(tx, "the drill of shop", "it passed")
        close_incident(tx, "the drill of shop", "it passed again")
    assert [one.subject for one in open_incidents(journal)] == ["something else"]
    assert opened(journal) not in {None, first}
    assert open_incidents(journal, "ledger") == ()
    assert len(list(journal.entries(kinds=["incident.closed"]))) == 1


def test_an_incident_has_a_grade_and_deadlines_from_the_plans(journal: Journal) -> None:
    opened(journal)
    body = next(iter(journal.entries(kinds=["incident.opened"]))).body
    assert (body["class"], body["grade"]) == ("software-fault", "III")
    assert {"first-judgement", "resolve-or-escalate", "report-to-leaders"} <= body["deadlines"].keys()


def test_what_a_drill_came_to_is_written_once(journal: Journal) -> None:
    note_drill(journal, drill("own"))
    note_drill(journal, drill("second"))
    assert [one.turn for one in past_drills(journal)] == ["own"]
    assert drill_of(journal, "dr-1") == drill("own")
    assert past_drills(journal, "ledger") == ()


def backed_up(journal: Journal) -> None:
    run = journal.create_run("backup", "shop", trigger="hand", requester="sre", reason="a test")
    for state in ("running", "succeeded"):
        journal.set_run(run.id, state, who="sre", executor="here:1")  # type: ignore[arg-type]


def in_days(days: float, journal: Journal, inventory: Inventory) -> list[str]:
    """The drills that start when so many days have gone by."""
    return [run.target for run in keep_up(journal, inventory, ahead=timedelta(days=days))]


def test_a_drill_starts_by_itself_a_week_after_the_first_backup_and_only_once(journal: Journal) -> None:
    inventory = load(EXAMPLE)
    assert in_days(99, journal, inventory) == [], "there is nothing to rehearse yet"
    backed_up(journal)
    assert in_days(6.9, journal, inventory) == []
    assert in_days(7.1, journal, inventory) == ["shop"]
    assert in_days(7.1, journal, inventory) == [], "it is under way"
    run = journal.list_runs(procedure="drill-restore")[0]
    journal.set_run(run.id, "cancelled", who="sre")
    assert in_days(0.2, journal, inventory) == []
    assert open_incidents(journal) == ()
    assert in_days(10.1, journal, inventory) == ["shop"], "what was cancelled proves nothing"
    assert in_days(10.1, journal, inventory) == []
    assert len(open_incidents(journal)) == 1, "overdue is said once"


@pytest.mark.parametrize("how", ["every_days: 0", "a schedule"])
def test_it_can_be_switched_off_and_given_a_clock_of_its_own(journal: Journal, tmp_path: Path, how: str) -> None:
    copy = Path(copytree(EXAMPLE, tmp_path / "inventory"))
    if how == "a schedule":
        line = '- {procedure: drill-restore, target: shop, cron: "0 4 * * 0"}\n'
        (copy / "schedules.yaml").write_text(line)
    else:
        text = (copy / "backups.yaml").read_text()
        assert "every_days: 7" in text
        (copy / "backups.yaml").write_text(text.replace("every_days: 7", how))
    inventory = load(copy)
    backed_up(journal)
    assert in_days(30, journal, inventory) == []
    assert scheduled(inventory) == ({"shop": "0 4 * * 0"} if how == "a schedule" else {})
    assert len(open_incidents(journal)) == (1 if how == "a schedule" else 0), "a line that starts nothing is noticed"
