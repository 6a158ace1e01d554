"""Who takes over in a planned switchover."""

from __future__ import annotations

import pytest
from test_candidates import MIB, service
from views_kit import LSN, dead_view, orphan, primary, seen, standby

from flows.succession import Succession, succession
from recoverd.inventory import Policy, Service
from tasks.views import Answer, ServiceView

POLICY = Policy(name="p")


def chosen(view: ServiceView, to: str = "", of: Service | None = None) -> Succession:
    return succession(view, of or service(), POLICY, to)


def test_the_priority_counts_more_than_a_few_bytes_and_the_others_follow() -> None:
    view = seen(standby("db-2", received_lsn=LSN - 100, replayed_lsn=LSN - 100))
    found = chosen(view, of=service(db_2={"priority": 200}))
    assert (found.old, found.new, found.others) == ("db-1", "db-2", ("db-3",))


def test_the_host_that_is_named_takes_over() -> None:
    assert chosen(seen(), to="db-3").new == "db-3"


@pytest.mark.parametrize(
    ("view", "to", "words"),
    [
        (seen(), "db-1", "db-1 is the primary already"),
        (seen(orphan("db-2")), "db-2", "does not stream from db-1"),
        (seen(standby("db-2", replayed_lsn=LSN - 64 * MIB)), "db-2", "bytes to replay"),
        (seen(primary(writes=Answer.STALLED, problem="a hung disk")), "", "a case for a failover"),
        (dead_view(), "", "dead"),
    ],
)
def test_a_switchover_is_refused_with_the_reason_where_it_is_not_safe(view: ServiceView, to: str, words: str) -> None:
    found = chosen(view, to)
    assert not found.new
    assert words in found.refusal


def test_a_member_that_must_not_lead_is_not_taken_even_by_name() -> None:
    assert "no_failover" in chosen(seen(), to="db-2", of=service(db_2={"no_failover": True})).refusal
