"""What a drill restores from pgBackRest's repositories: tables."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from drill_kit import drill
from test_repository_offers import ALL, AT, NEW, NEWEST, OLD, SITES, a_set, away, view

from flows.drilling import Asked, Chosen
from flows.repository_drill import pick_drill, what_was_brought
from recoverd.drills import MIXED
from recoverd.journal import Entry


def pick(run: str = "dr-1", *, views: tuple[Any, ...] = ALL, past: tuple[Any, ...] = (), **asked: str) -> Chosen:
    return pick_drill(run, views, SITES, past, Asked(**asked))


def test_sites_take_turns_and_the_set_is_one_of_the_site_to_the_end_of_its_wal() -> None:
    assert pick().turn == "own"
    second = pick(past=(drill("own"),))
    assert second.options == {"site": "second", "set": NEWEST, "to": "latest"}
    assert second.newest_at == AT + timedelta(minutes=9)
    assert second.held == (OLD, NEW, NEWEST)


def test_the_same_run_picks_the_same_set_and_others_pick_others() -> None:
    picked = [pick(f"dr-{number}", site="own").set for number in range(20)]
    assert picked == [pick(f"dr-{number}", site="own").set for number in range(20)]
    assert set(picked) == {OLD, NEW}
    assert {pick(f"dr-{number}", site=MIXED).set for number in range(40)} == {OLD, NEW, NEWEST}


def test_what_a_person_asks_for_is_left_to_the_restore() -> None:
    moment = "2026-11-26 04:05:00Z"
    assert pick(site="own,second", to=moment).options == {"site": "own,second", "to": moment}
    assert pick(site=MIXED, set=NEW).options == {"set": NEW}


@pytest.mark.parametrize(
    ("views", "asked", "said"),
    [
        (ALL, {"site": "nowhere"}, "there is no site nowhere"),
        ((ALL[0], away("second"), ALL[2]), {"site": "second"}, "second is left out (it does not answer)"),
        ((view("own", a_set(NEW, 3, 2), wal=(4, 5)), *ALL[1:]), {"site": "own"}, "WAL is missing"),
    ],
)
def test_what_cannot_be_drilled_says_why(views: tuple[Any, ...], asked: dict[str, str], said: str) -> None:
    assert said in pick(views=views, **asked).refusal


def entry(kind: str, step: str, **body: Any) -> Entry:
    return Entry(
        seq=1, at=AT, kind=kind, who="recoverd", run="dr-1", step=step, body=body, prev_hash="", hash="", incident=None
    )


def test_the_set_that_stood_there_in_the_end_is_what_was_brought() -> None:
    entries = [
        entry("step.decided", "choose_offers(orders-db)", decision={"target": "latest"}),
        entry("step.done", f"bring_set(orders-db,b,own,{NEW})", data={"site": "own", "set": NEW, "bytes": 5}),
        entry("step.done", f"bring_set(orders-db,b,second,{OLD})", data={"site": "second", "set": OLD, "bytes": 7}),
    ]
    found = what_was_brought(entries)
    assert (found.set, found.sites, found.point, found.bytes) == (OLD, ("second",), "latest", 7)
    assert what_was_brought(entries[:1]).set == ""
