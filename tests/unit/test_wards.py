"""Which hosts stand isolated, how many may, and what is asked before any is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import layers
from flows.isolate import permit
from flows.layers.doing import Done
from recoverd.errors import Invalid
from recoverd.inventory import Inventory, load
from recoverd.isolation.limits import over_limits
from recoverd.isolation.wards import note_isolating, note_proof, note_released, standing
from recoverd.isolation.wishes import Wish, read_wish
from recoverd.journal import Journal
from recoverd.raised import raise_grade, raise_incident
from tasks.needed import Need, Needs

HOSTS = "all:\n  children:\n    web:\n      hosts:\n" + "".join(
    f"        web-{number}: {{ansible_host: 10.0.0.{number}}}\n" for number in range(1, 11)
)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield made
    made.close()


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    (tmp_path / "services.yaml").write_text("services:\n")
    (tmp_path / "isolation.yaml").write_text('zones:\n  web: {hosts: "group:web", limit: {hosts: 4, percent: 30}}\n')
    return load(tmp_path)


def begun(journal: Journal, *hosts: str, touched: tuple[str, ...] | None = None) -> str:
    run = journal.create_run("isolate", ",".join(hosts), trigger="hand", requester="ann", reason="x").id
    note_isolating(journal, run, ",".join(hosts), dict.fromkeys(hosts, ("firewall",)))
    for host in hosts if touched is None else touched:
        body = {"arguments": {"host": host}}
        journal.append("step.intended", who="recoverd", run=run, step=f"cut({host},60)", body=body)
    return run


def test_a_host_stands_isolated_from_the_first_change_until_it_is_released(journal: Journal) -> None:
    run = begun(journal, "web-1", "web-2", touched=("web-1",))
    assert [(ward.host, ward.proven) for ward in standing(journal)] == [("web-1", None)]
    note_proof(journal, run, "web-1", proven=True, why="3 peers say so", control={"ways": {"web-2": ["tcp"]}})
    note_proof(journal, run, "web-1", proven=False, why="web-2 reaches it")
    [ward] = standing(journal, "web-1")
    assert (ward.proven, ward.why, ward.control) == (False, "web-2 reaches it", {"ways": {"web-2": ["tcp"]}})
    later = begun(journal, "web-1")
    note_released(journal, "re-1", "web-1", [run])
    assert [ward.run for ward in standing(journal)] == [later]
    note_released(journal, "re-2", "web-1", [later])
    assert standing(journal) == ()


def test_what_is_to_be_isolated_is_written_down_once_also_when_the_run_goes_on(journal: Journal) -> None:
    run = begun(journal, "web-1")
    note_isolating(journal, run, "web-1", {"web-9": ("firewall",)})
    assert [ward.host for ward in standing(journal)] == ["web-1"]


def test_limits_count_what_stands_isolated_already_and_let_one_always_go(inventory: Inventory) -> None:
    assert over_limits(inventory, ["web-1", "web-2", "web-3"], set()) == ()
    [why] = over_limits(inventory, ["web-1", "web-2", "web-3"], {"web-9"})
    assert why.startswith("4 hosts of zone web would be isolated, 1 of them already, and its limit is 3")
    assert over_limits(inventory, ["web-1"], {"web-1"}) == ()


def test_nobody_overrules_what_recoverd_itself_needs_and_a_person_may_what_users_need() -> None:
    controller = Needs(hosts=(Need(host="web-1", never=("web-1 is the machine that recoverd itself runs on",)),))
    users = Needs(hosts=(Need(host="web-1", users=("web-1 is the last server of shop on lb-1",)),))
    assert permit.__wrapped__ is not None  # type: ignore[attr-defined]
    decide = _plain(permit)
    assert decide(controller, (), Wish(force=True)).refusals
    assert decide(users, (), Wish()).refusals == ("web-1 is the last server of shop on lb-1",)
    assert decide(users, ("too many",), Wish(force=True)).forced == (
        "web-1 is the last server of shop on lb-1",
        "too many",
    )
    assert not decide(Needs(hosts=()), (), Wish()).refusals


def _plain(step):  # type: ignore[no-untyped-def]
    """A decision without the run around it."""
    while hasattr(step, "__wrapped__"):
        step = step.__wrapped__
    return step


def test_hosts_that_were_not_begun_in_one_layer_are_not_begun_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def layer(left: tuple[str, ...]):  # type: ignore[no-untyped-def]
        def apply(hosts: list[str], *, stop_after: int | None = None) -> Done:
            asked.append((hosts, stop_after))
            return Done(left=left)

        return SimpleNamespace(apply=apply)

    monkeypatch.setattr(layers, "LAYERS", {"entry-points": layer(("web-3",)), "firewall": layer(())})
    done = layers.put_on(dict.fromkeys(("web-1", "web-3"), ("entry-points", "firewall")), stop_after=5)
    assert asked == [(["web-1", "web-3"], 5), (["web-1"], 5)]
    assert done.left == ("web-3",)


@pytest.mark.parametrize("options", [{"evidence": "never"}, {"stop-after": "0"}, {"stop-after": "x"}])
def test_options_that_cannot_be_meant_are_refused_at_the_door(options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        read_wish(options)


def test_an_incident_rises_by_one_grade_at_a_time_and_no_further_than_the_gravest(journal: Journal) -> None:
    with journal.transaction() as tx:
        name = raise_incident(tx, "isolation of web-1", "web-1", "open", "cut it", criticality="critical")
        assert name is not None
        assert [raise_grade(tx, name, "again") for _ in range(3)] == ["II", "I", "I"]
        assert raise_grade(tx, "an-alerts", "again") == "III", "nobody had graded it"
