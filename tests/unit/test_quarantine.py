"""How sites stand is in the journal: a quarantine outlasts the process, opens one incident, and ends when somebody lifts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.errors import Stale
from recoverd.journal import Journal
from recoverd.quarantine import judge, lift, quarantined, standings
from recoverd.raised import open_incidents

SERVICE = "orders-db"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.close()


def found(journal: Journal, verdict: str, *, site: str = "second", service: str = SERVICE) -> str:
    return judge(journal, service, site, verdict, ("all of it",), run=None, who="sre")  # type: ignore[arg-type]


def kinds(journal: Journal) -> list[str]:
    return [entry.kind for entry in journal.entries()]


def test_a_tampered_site_is_in_quarantine_until_it_is_lifted(journal: Journal) -> None:
    incident = found(journal, "tampered")
    assert list(quarantined(journal, SERVICE)) == ["second"]
    assert quarantined(journal, "payments-db") == {}
    (opened,) = journal.entries(kinds=["incident.opened"])
    assert (opened.incident, opened.body["class"]) == (incident, "network-attack")
    assert "all of it" in opened.body["summary"]
    lift(journal, SERVICE, "second", who="sre", reason="looked")
    assert quarantined(journal, SERVICE) == {}
    assert open_incidents(journal) == ()
    with pytest.raises(Stale, match="no quarantine"):
        lift(journal, SERVICE, "second", who="sre", reason="again")


def test_a_heal_ends_a_quarantine_and_only_a_person_closes_the_incident(journal: Journal) -> None:
    found(journal, "tampered")
    found(journal, "clean")
    assert quarantined(journal, SERVICE) == {}
    assert len(open_incidents(journal)) == 1
    lift(journal, SERVICE, "second", who="sre", reason="the key was stolen, and is changed")
    assert open_incidents(journal) == ()


def test_what_is_known_already_is_not_written_again(journal: Journal) -> None:
    first = found(journal, "damaged")
    assert found(journal, "damaged") == first
    assert kinds(journal) == ["incident.opened", "site.damaged"]
    worse = found(journal, "tampered")
    assert worse != first
    assert found(journal, "damaged") == worse, "a tampered site does not become a merely damaged one"
    assert list(quarantined(journal, SERVICE)) == ["second"]


def test_a_clean_site_leaves_no_trace_and_ends_what_was_said_of_it(journal: Journal) -> None:
    assert found(journal, "clean") == ""
    assert kinds(journal) == []
    found(journal, "tampered")
    found(journal, "clean")
    assert "site.clean" in kinds(journal)
    assert quarantined(journal, SERVICE) == {}
    assert standings(journal, SERVICE)["second"].verdict == "clean"
    found(journal, "clean")
    assert kinds(journal).count("site.clean") == 1
