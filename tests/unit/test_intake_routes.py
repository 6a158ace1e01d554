"""Routes: the first that matches wins, the stricter mode wins, and a table that does not fit is refused whole."""

from __future__ import annotations

import pytest
from intake_kit import alert, inventory, route

from gateway.routes import RouteTable, fill, stricter
from recoverd.errors import Invalid

PROCEDURES = ("failover", "switchover", "rejoin")


def test_the_first_route_that_matches_wins():
    table = RouteTable(inventory(route(name="one"), route(name="two", procedure="rejoin")), PROCEDURES)
    found = table.decide(alert())
    assert (found.route, found.procedure, found.target, found.mode) == ("one", "failover", "orders", "act")


def test_an_alert_that_no_route_matches_is_only_recorded():
    found = RouteTable(inventory(), PROCEDURES).decide(alert(labels={"alertname": "DiskFull", "service": "orders"}))
    assert (found.mode, found.route, found.loud) == ("record", None, False)


@pytest.mark.parametrize(
    ("of_route", "of_policy", "expected"),
    [
        ("act", "act", "act"),
        ("act", "ask", "ask"),
        ("ask", "act", "ask"),
        ("act", "record", "record"),
        ("record", "act", "record"),
    ],
)
def test_the_stricter_of_route_and_policy_wins(of_route: str, of_policy: str, expected: str):
    table = RouteTable(inventory(route(mode=of_route), policy={"failover": {"alert": of_policy}}), PROCEDURES)
    assert table.decide(alert()).mode == expected


def test_the_policy_for_the_sentinel_is_its_own():
    table = RouteTable(inventory(policy={"failover": {"alert": "act", "sentinel": "record"}}), PROCEDURES)
    assert table.decide(alert(), "alert").mode == "act"
    assert table.decide(alert(), "sentinel").mode == "record"


def test_a_policy_with_one_mode_for_a_procedure_counts_for_every_trigger():
    table = RouteTable(inventory(route(procedure="rejoin"), policy={"rejoin": "record"}), PROCEDURES)
    assert table.decide(alert()).mode == "record"


def test_an_alert_about_an_unknown_service_is_recorded_loudly_with_the_nearest_name():
    found = RouteTable(inventory(), PROCEDURES).decide(alert(labels={"alertname": "PostgresDown", "service": "order"}))
    assert (found.mode, found.loud) == ("record", True)
    assert "'order'" in found.reason
    assert "nearest: orders" in found.reason


def test_an_alert_without_the_label_that_names_its_target_is_recorded_loudly():
    found = RouteTable(inventory(), PROCEDURES).decide(alert(labels={"alertname": "PostgresDown"}))
    assert (found.mode, found.loud) == ("record", True)
    assert "the label service" in found.reason


def test_all_problems_of_a_table_are_told_at_once():
    bad = inventory(
        route(name="a", procedure="failovr"),
        route(name="b", target="ordrs"),
        route(name="c", target="{service}"),
        route(name="d", match='alertname="X", service="bilings"'),
        route(name="e"),
        route(name="e"),
    )
    with pytest.raises(Invalid) as caught:
        RouteTable(bad, PROCEDURES)
    assert caught.value.message.splitlines()[1:] == [
        "route a: there is no procedure 'failovr' (nearest: failover)",
        "route b: there is no service 'ordrs' (nearest: orders)",
        "route c: the target '{service}' is no template: only {labels.NAME} may stand in braces",
        "route d: there is no service 'bilings' (nearest: billing)",
        "route e: the name is given twice",
    ]


def test_a_template_takes_several_labels_and_names_the_one_that_is_missing():
    assert fill("{labels.team}-{labels.service}", {"team": "shop", "service": "orders"}) == ("shop-orders", None)
    assert fill("{labels.team}-{labels.service}", {"service": "orders", "team": ""})[1] == "team"
    assert fill("orders", {}) == ("orders", None)


def test_a_label_that_looks_like_a_template_is_not_filled_in_again():
    assert fill("{labels.service}", {"service": "{labels.other}", "other": "orders"}) == ("{labels.other}", None)


def test_record_is_stricter_than_ask_and_ask_than_act():
    assert stricter("act", "ask") == stricter("ask", "act") == "ask"
    assert stricter("record", "ask") == "record"
