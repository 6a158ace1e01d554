"""Which acknowledged commits a promotion may lose: on whom alone they may be, for every kind of synchronous_standby_names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_candidates import behind, order, ranked, service
from views_kit import lost, off, on_host, orphan, primary, seen

from flows.accounting import Account
from flows.candidates import Choice, rank
from flows.possible_loss import asks_for_loss
from recoverd.errors import Unsafe
from recoverd.execution import rehearsal
from recoverd.inventory import Policy, load
from tasks.salvage import Loss
from tasks.views import ServerView, ServiceView

ANY_OF_ALL = "ANY 1 (db-1, db-2, db-3)"


def without_primary(names: str, *servers: ServerView, lead: ServerView | None = None) -> ServiceView:
    """The primary is gone; the standbys say what commits waited for."""
    given = {server.host: server for server in servers}
    standbys = [given.get(host, orphan(host)) for host in ("db-2", "db-3")]
    told = [one.model_copy(update={"synchronous_standby_names": names}) if one.in_recovery else one for one in standbys]
    return seen(lead or lost("db-1"), *told, hosts=(off("db-1"),))


CASES: dict[str, tuple[str, tuple[ServerView, ...], tuple[str, ...]]] = {
    "asynchronous, one is gone": ("", (lost("db-3"),), ()),
    "any one of them, all are there": (ANY_OF_ALL, (), ()),
    "any one of them, one is gone": (ANY_OF_ALL, (lost("db-3"),), ("db-3",)),
    "any two of them, one is gone: the other has it all": ("ANY 2 (db_2, db_3)", (lost("db-3"),), ()),
    "by priority, the first is gone": ("FIRST 1 (db_2, db_3)", (lost("db-2"),), ("db-2",)),
    "by priority, the second is gone: it may have confirmed while the first was away": (
        "FIRST 1 (db_2, db_3)",
        (lost("db-3"),),
        ("db-3",),
    ),
    "by priority, the first two of them, one is gone": ("FIRST 2 (db_2, db_3)", (lost("db-2"),), ()),
    "a plain list, its first is gone": ("db_2, db_3", (lost("db-2"),), ("db-2",)),
    "a plain list of quoted names": ('"db-2"', (lost("db-2"),), ("db-2",)),
    "the old syntax": ("1 (db_2, db_3)", (lost("db-2"),), ("db-2",)),
    "any standby there is": ("*", (lost("db-3"),), ("db-3",)),
    "who is gone is not in the list": ("FIRST 1 (DB_3)", (lost("db-2"),), ()),
    "who is behind confirmed nothing that the other lacks": (ANY_OF_ALL, (behind("db-3", 100),), ()),
    "a receiver of WAL that is no member": ("ANY 1 (db_2, db_3, archive)", (), ("archive",)),
    "names that are no member's, all are there": ("ANY 1 (n1, n2, n3)", (), ()),
    "names that are no member's, one is gone": ("ANY 1 (n1, n2, n3)", (lost("db-3"),), ("db-3",)),
}


@pytest.mark.parametrize("case", CASES)
def test_commits_that_only_those_may_hold_who_cannot_be_asked_are_found_for_every_kind_of_list(case: str) -> None:
    names, servers, expected = CASES[case]
    choice = ranked(without_primary(names, *servers))
    assert choice.order[0].only_on == expected
    assert any("would be lost" in words for words in choice.warnings) is bool(expected)


def test_what_only_a_standby_holds_that_may_not_be_promoted_counts_too() -> None:
    never = service(db_3={"no_failover": True})
    ahead = ranked(without_primary(ANY_OF_ALL, behind("db-2", 100)), never)
    assert (order(ahead), ahead.order[0].only_on) == (["db-2"], ("db-3",))
    not_listed = ranked(without_primary("FIRST 1 (db_2)", behind("db-2", 100)), never)
    assert not_listed.order[0].only_on == ()


def test_a_standby_that_was_made_anew_from_another_cluster_has_nothing_any_more() -> None:
    view = without_primary(ANY_OF_ALL, orphan("db-3", system_identifier="9"))
    hosts = (on_host("db-1", system_identifier="7"), *view.hosts[1:])
    assert ranked(view.model_copy(update={"hosts": hosts})).order[0].only_on == ("db-3",)


def test_the_second_choice_may_lack_what_the_first_one_holds() -> None:
    choice = ranked(without_primary(ANY_OF_ALL, behind("db-3", 100)))
    assert [(one.host, one.only_on) for one in choice.order] == [("db-2", ()), ("db-3", ("db-2",))]
    level = ranked(without_primary(ANY_OF_ALL))
    assert [one.only_on for one in level.order] == [(), ()]


@pytest.mark.parametrize(("own", "expected"), [("", ()), (ANY_OF_ALL, ("db-3",))])
def test_a_primary_that_answers_says_itself_what_commits_waited_for(own: str, expected: tuple[str, ...]) -> None:
    others = ANY_OF_ALL if not own else ""
    view = without_primary(others, lost("db-3"), lead=primary(synchronous_standby_names=own))
    choice = ranked(view)
    assert (choice.order[0].only_on, choice.synchronous) == (expected, (own,) if own else ())
    fenced = without_primary(others, lost("db-3"))
    assert chosen_again(fenced, choice).order[0].only_on == expected  # and is still believed when it is off


def chosen_again(view: ServiceView, before: Choice) -> Choice:
    return rank(view, service(), Policy(name="p"), "db-1", before.synchronous)


def test_wal_that_only_a_passed_over_standby_holds_is_said_with_its_bytes_and_not_beyond_the_lag_bound() -> None:
    never = service(db_3={"no_failover": True})
    view = without_primary("", behind("db-2", 4096))
    choice = ranked(view, never)
    assert choice.order[0].dropped == {"db-3": 4096}
    assert "db-3 holds 4096 bytes of WAL that db-2 does not have" in choice.summary
    assert order(ranked(view, never, max_lag_bytes=4095)) == []
    assert ranked(without_primary("")).order[0].dropped == {}


def test_the_account_says_who_holds_more_than_the_new_primary() -> None:
    facts: dict[str, Any] = {
        "service": "orders-db",
        "old_primary": "db-1",
        "new_primary": "db-2",
        "began_at": "2026-11-22T03:00:00Z",
        "phases": (),
        "rto_s": 1.0,
        "rto_objective_s": 30,
        "loss": Loss(known=False, reason="db-1 is off"),
        "rpo_objective_bytes": 0,
    }
    assert "db-3 holds 4096 bytes of WAL that db-2 does not have" in Account(**facts, dropped={"db-3": 4096}).summary


@pytest.mark.parametrize(
    ("rule", "only_on", "accepted", "asks"),
    [
        ("ask", (), (), False),
        ("ask", ("db-3",), (), True),
        ("ask", ("db-3",), ("db-3",), False),
        ("ask", ("db-3", "db-4"), ("db-3",), True),
        ("act", ("db-3",), (), False),
        ("never", (), (), False),
        ("never", ("db-3",), (), None),
    ],
)
def test_a_possible_loss_is_asked_for_once_unless_the_policy_decides(
    rule: str, only_on: tuple[str, ...], accepted: tuple[str, ...], asks: bool | None, lab_inventory: Any
) -> None:
    policies = {"lab": lab_inventory.policies["lab"].model_copy(update={"possible_loss": rule})}
    with rehearsal("failover", "orders-db", lab_inventory.model_copy(update={"policies": policies})):
        if asks is None:
            with pytest.raises(Unsafe, match="may be on db-3 alone"):
                asks_for_loss("orders-db", "db-2", only_on, accepted)
        else:
            assert asks_for_loss("orders-db", "db-2", only_on, accepted) is asks


@pytest.fixture
def lab_inventory() -> Any:
    return load(Path(__file__).parents[2] / "inventories" / "lab")
