"""Which standby becomes the primary."""

from __future__ import annotations

from typing import Any

from views_kit import LSN, dead_view, lost, off, on_host, orphan, primary, seen

from flows.candidates import Choice, rank
from recoverd.inventory import Control, Member, Objectives, Policy, Postgres, Service
from tasks.views import ServiceView

MIB = 1024 * 1024
POSTGRES = Postgres(data_dir="/data", bin_dir="/bin", control=Control(kind="pg_ctl"))


def service(**members: dict[str, Any]) -> Service:
    named = {"db-1": {}, "db-2": {}, "db-3": {}} | {name.replace("_", "-"): facts for name, facts in members.items()}
    return Service(
        name="orders-db",
        kind="postgresql",
        members=tuple(Member(host=host, **facts) for host, facts in named.items()),
        postgresql=POSTGRES,
        objectives=Objectives(rto_s=30),
    )


def ranked(view: ServiceView, of: Service | None = None, **policy: Any) -> Choice:
    return rank(view, of or service(), Policy(name="p", **policy), "db-1")


def order(choice: Choice) -> list[str]:
    return [candidate.host for candidate in choice.order]


def behind(host: str, by: int, **changed: Any) -> Any:
    return orphan(host, received_lsn=LSN - by, **changed)


def test_the_standby_with_the_most_wal_is_first_whatever_its_priority() -> None:
    view = seen(lost("db-1"), behind("db-2", 100), behind("db-3", 0), hosts=(off("db-1"),))
    choice = ranked(view, service(db_2={"priority": 500}))
    assert order(choice) == ["db-3", "db-2"]
    assert choice.order[1].behind_bytes == 100


def test_of_equals_the_higher_priority_is_first() -> None:
    assert order(ranked(dead_view(), service(db_3={"priority": 200}))) == ["db-3", "db-2"]


def test_a_standby_beyond_the_lag_bound_is_passed_over_with_the_figure() -> None:
    view = seen(lost("db-1"), behind("db-2", 2 * MIB), behind("db-3", 0), hosts=(off("db-1"),))
    choice = ranked(view, max_lag_bytes=MIB)
    assert order(choice) == ["db-3"]
    assert str(2 * MIB) in choice.passed_over[0]


def test_what_the_primary_was_known_to_have_sent_counts_for_the_lag() -> None:
    view = seen(lost("db-1"), behind("db-2", 2 * MIB), behind("db-3", 2 * MIB, receiver=None), hosts=(off("db-1"),))
    receiver = {"status": "stopping", "sender_host": "10.0.0.11", "latest_end_lsn": LSN, "last_message_at": 9.0}
    told = seen(lost("db-1"), behind("db-2", 2 * MIB, receiver=receiver), view.servers[2], hosts=(off("db-1"),))
    assert order(ranked(view, max_lag_bytes=MIB)) == ["db-2", "db-3"]
    assert order(ranked(told, max_lag_bytes=MIB)) == []


def test_wal_of_a_timeline_that_was_left_behind_is_no_measure_of_the_others() -> None:
    view = seen(lost("db-1"), behind("db-2", -64 * MIB), orphan("db-3", timeline=2), hosts=(off("db-1"),))
    assert order(ranked(view)) == ["db-3"]


def test_a_server_of_another_cluster_is_not_taken_however_much_wal_it_holds() -> None:
    foreign = orphan("db-2", system_identifier="9", received_lsn=LSN * 9, timeline=3)
    known = seen(lost("db-1"), foreign, orphan("db-3"), hosts=(on_host("db-1", system_identifier="7"),))
    assert order(ranked(known)) == ["db-3"]
    alone = seen(lost("db-1"), foreign, lost("db-3"), hosts=(on_host("db-1", system_identifier="7"), off("db-3")))
    assert "another cluster" in ranked(alone).passed_over[0]
    new_disk = seen(lost("db-1"), orphan("db-2"), orphan("db-3"), hosts=(on_host("db-1", system_identifier="9"),))
    assert order(ranked(new_disk)) == ["db-2", "db-3"]


def test_no_failover_an_older_timeline_a_full_disk_and_a_silent_host_are_passed_over() -> None:
    assert order(ranked(dead_view(), service(db_2={"no_failover": True}))) == ["db-3"]
    older = seen(lost("db-1"), orphan("db-2", timeline=1), orphan("db-3", timeline=2), hosts=(off("db-1"),))
    assert order(ranked(older)) == ["db-3"]
    full = seen(lost("db-1"), orphan("db-2"), orphan("db-3"), hosts=(off("db-1"), on_host("db-2", free_bytes=4096)))
    assert order(ranked(full)) == ["db-3"]
    silent = seen(lost("db-1"), orphan("db-2"), orphan("db-3"), hosts=(off("db-1"), off("db-2")))
    assert order(ranked(silent)) == ["db-3"]


def test_with_nobody_left_the_choice_is_empty_and_says_why_of_each() -> None:
    choice = ranked(seen(lost("db-1"), lost("db-2"), primary("db-3"), hosts=(off("db-1"),)))
    assert order(choice) == []
    assert [reason.split(":")[0] for reason in choice.passed_over] == ["db-2", "db-3"]


def test_quorum_commits_that_only_a_silent_standby_may_hold_are_warned_of() -> None:
    names = "ANY 1 (db-1, db-2, db-3)"
    view = seen(lost("db-1"), orphan("db-2", synchronous_standby_names=names), lost("db-3"), hosts=(off("db-1"),))
    assert "db-3" in ranked(view).warnings[0]
    both = seen(lost("db-1"), orphan("db-2", synchronous_standby_names=names), orphan("db-3"), hosts=(off("db-1"),))
    assert ranked(both).warnings == ()
