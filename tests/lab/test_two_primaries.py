"""Two servers take writes: one that came back is fenced, but the one that users write on is never taken for it."""

from __future__ import annotations

import pytest
from failover_kit import SERVICE, Controller, address_holders, only_writer, roles
from lab_kit import connect, eventually, value
from test_sentinel import watching

from lab import Lab
from lab.roles import writers

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


def promote_by_mistake(lab: Lab, host: str) -> None:
    """What somebody does who is logged in to the wrong server."""
    assert value(connect(lab, lab.host(host).address), "select pg_promote()") is True
    assert roles(lab)[host] == "primary"


def without_an_address(recoverd: Controller) -> None:
    """Clients know all members, and nothing is moved."""
    services = recoverd.inventory / "services.yaml"
    kept = [line for line in services.read_text().splitlines() if "virtual-address" not in line]
    services.write_text("\n".join(kept) + "\n")


@pytest.mark.parametrize("procedure", ["failover", "rejoin"])
@pytest.mark.parametrize("address", [True, False])
def test_after_a_promotion_by_mistake_the_server_that_users_write_on_is_left_alone(
    recoverd: Controller, lab: Lab, address: bool, procedure: str
) -> None:
    if not address:
        without_an_address(recoverd)
    promote_by_mistake(lab, "db-2")
    run = recoverd.run(procedure)
    assert (run.state, "db-1 on timeline 1" in run.summary) == ("refused", True), run.summary
    assert recoverd.changed_nothing(run)
    assert (writers(lab.layout), address_holders(lab)) == (("db-1", "db-2"), ["db-1"])
    hint = recoverd.entries(run, "run.finished")[-1].body["hint"]
    assert ("stop PostgreSQL on db-2 by hand" in hint) is address, hint


def test_the_sentinel_knows_from_the_journal_who_came_back_and_a_run_fences_it(recoverd: Controller, lab: Lab) -> None:
    without_an_address(recoverd)
    lab.break_("power-off", "db-1")
    assert recoverd.run().state == "succeeded"
    primary = only_writer(lab)
    looks: list[str] = []
    lab.power_on("db-1")
    lab.start_postgres("db-1")
    assert eventually(lambda: roles(lab)["db-1"] == "primary")
    with watching(recoverd, looks) as kept:
        assert eventually(lambda: kept.told() == [("RecoverdPrimaryReturned", "firing")], timeout_s=20), looks
    run = recoverd.run(instance=kept.alerts[0].labels["instance"])
    assert (run.state, recoverd.done(run)) == ("succeeded", ["fence_by_ssh"]), run.summary
    assert only_writer(lab) == primary
    assert SERVICE in run.summary
