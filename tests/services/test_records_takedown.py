"""Content is hidden by a rule, up to its limit, comes back, and a statement about it is drafted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records_kit import SERVICE, Data, data_here
from throw_away_postgres import PgServer

from deployments.catalogue import procedure
from deployments.start import start
from recoverd.errors import Invalid
from recoverd.journal import RunRow

pytestmark = pytest.mark.postgres

REVIEWS = """
create table reviews (id int primary key, author int, status text not null default 'shown', was text);
insert into reviews select n, n % 4 from generate_series(1, 40) n
"""
HOW = """takedowns: [{name: reviews, table: reviews, hide: "status = 'hidden', was = status", most_rows: 15,
      statement: "{rows} reviews were removed on {at}."}]"""


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(REVIEWS)
        made.grant("reviews")
        made.configure(HOW)
        yield made


def take_down(data: Data, **options: Any) -> RunRow:
    run = data.execute(
        start("takedown", SERVICE, trigger="hand", requester="sre", reason="x", options=options, journal=data.journal)
    )
    if run.state == "waiting":
        data.approve(run)
        run = data.execute(run)
    return run


def hidden(data: Data) -> int:
    return int(data.value("select count(*) from reviews where status = 'hidden'"))


def test_content_is_hidden_after_approval_and_comes_back(data: Data) -> None:
    run = take_down(data, rule="reviews", where="author = 1", expect_rows=10)
    assert run.state == "succeeded", run.summary
    assert hidden(data) == 10
    (draft,) = data.journal.entries(run=run.id, kinds=["notice.drafted"])
    assert draft.body["text"].startswith("10 reviews were removed on 20")
    back = data.run(undo=run.id)
    assert back.state == "succeeded", back.summary
    assert (hidden(data), data.journal.get_run(run.id).state) == (0, "undone")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"where": "author < 2"}, "may hide 15 at once"),
        ({"expect_rows": 9}, "9 were expected"),
        ({"rule": "comments"}, "no takedown comments"),
        ({"where": "pg_sleep(1) is null"}, "volatile"),
    ],
)
def test_what_goes_beyond_the_rule_is_refused(data: Data, options: dict[str, Any], says: str) -> None:
    run = take_down(data, **{"rule": "reviews", "where": "author = 1", **options})
    assert (run.state, hidden(data)) == ("refused", 0)
    assert says in run.summary


def test_options_that_say_too_little_are_refused_at_the_door() -> None:
    for options in (
        {},
        {"rule": "reviews"},
        {"where": "true"},
        {"rule": "reviews", "where": "true; drop table reviews"},
    ):
        with pytest.raises(Invalid):
            procedure("takedown").check_options(options)
