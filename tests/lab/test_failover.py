"""The failover on real servers: what it does when the primary is gone, and what it refuses to do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from failover_kit import SERVICE, Controller, address_holders, controller, only_writer, roles
from lab_kit import connect, eventually

import tasks.postgres
from lab import Lab
from lab.background import Writer
from lab.guard import Guard
from lab.ledger import check_ledger
from lab.roles import writers
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.journal import RunRow

pytestmark = pytest.mark.lab


def assert_served_by_a_standby(recoverd: Controller, run: RunRow) -> str:
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed", "run.finished"))
    primary = only_writer(recoverd.lab)
    assert primary != "db-1"
    assert address_holders(recoverd.lab) == [primary]
    return primary


def test_a_killed_primary_is_fenced_and_the_best_standby_serves_users(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    run = recoverd.run()
    primary = assert_served_by_a_standby(recoverd, run)
    assert recoverd.done(run) == ["fence_by_ssh", "promote", "claim_address", "follow"]
    other = {"db-2": "db-3", "db-3": "db-2"}[primary]
    assert roles(lab) == {"db-1": "stopped", primary: "primary", other: "standby"}


def test_a_host_that_is_gone_is_fenced_by_its_device_before_anything_is_promoted(
    recoverd: Controller, lab: Lab
) -> None:
    lab.break_("power-off", "db-1")
    run = recoverd.run()
    assert_served_by_a_standby(recoverd, run)
    proof = [entry for entry in recoverd.entries(run, "step.done") if "power_off" in (entry.step or "")]
    promotion = [entry for entry in recoverd.entries(run, "step.intended") if "promote" in (entry.step or "")]
    assert proof[0].seq < promotion[0].seq


def test_a_primary_that_is_cut_off_from_everybody_is_powered_off_before_its_successor_starts(
    recoverd: Controller, lab: Lab
) -> None:
    lab.break_("partition", "db-1")
    with Guard(lab.layout) as guard:
        run = recoverd.run()
    assert_served_by_a_standby(recoverd, run)
    assert not lab.is_on("db-1")
    assert not guard.violations


def test_a_frozen_primary_is_killed_and_cannot_wake_up_writable(recoverd: Controller, lab: Lab) -> None:
    lab.break_("freeze", "db-1")
    with Guard(lab.layout) as guard:
        run = recoverd.run()
        assert_served_by_a_standby(recoverd, run)
    assert roles(lab)["db-1"] == "stopped"
    assert not guard.violations


def test_a_data_directory_behind_a_symbolic_link_is_fenced_like_any_other(recoverd: Controller, lab: Lab) -> None:
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace("/var/lib/postgresql/data", "/var/lib/postgresql/link/data"))
    for host in ("db-1", "db-2", "db-3"):
        lab.run(host, "ln -sfn /var/lib/postgresql /var/lib/postgresql/link")
    lab.break_("freeze", "db-1")
    with Guard(lab.layout) as guard:
        run = recoverd.run()
        assert_served_by_a_standby(recoverd, run)
    assert roles(lab)["db-1"] == "stopped"
    assert not guard.violations


def lose_volume(lab: Lab, host: str) -> None:
    """The server dies, and the volume with its data is unmounted: the directory that it stood on is empty."""
    lab.break_("kill", host)
    data = "/var/lib/postgresql/data"
    assert eventually(lambda: not lab.run(host, f"find /proc -maxdepth 2 -name cwd -lname {data}", check=False).out)
    lab.run(host, f"mkdir -p /tmp/empty && mount --bind /tmp/empty {data}")


def test_data_on_a_volume_that_is_not_mounted_is_not_fenced_over_ssh_but_by_its_device(
    recoverd: Controller, lab: Lab
) -> None:
    lose_volume(lab, "db-1")
    run = recoverd.run()
    assert_served_by_a_standby(recoverd, run)
    assert recoverd.done(run)[:2] == ["power_off", "promote"]
    assert not lab.is_on("db-1")


def test_without_a_device_nothing_is_promoted_while_the_data_may_come_back_writable(
    recoverd: Controller, lab: Lab
) -> None:
    recoverd.policy(unfenced_promotion="never")
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace("priority: 100, fencing: [power]", "priority: 100"))
    lose_volume(lab, "db-1")
    run = recoverd.run()
    assert run.state == "refused", run.summary
    assert "promote" not in recoverd.done(run)
    assert roles(lab) == {"db-1": "stopped", "db-2": "standby", "db-3": "standby"}
    lab.run("db-1", "umount /var/lib/postgresql/data")  # it is mounted again, and whoever looks starts it
    lab.start_postgres("db-1")
    assert only_writer(lab) == "db-1"


def test_without_clients_in_the_inventory_a_write_is_proven_from_the_controller(recoverd: Controller, lab: Lab) -> None:
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace("    clients: [app-1]\n", ""))
    lab.break_("power-off", "db-1")  # libpq would wait for its silence, and it is the first of the servers
    run = recoverd.run()
    assert_served_by_a_standby(recoverd, run)
    proofs = [entry for entry in recoverd.entries(run, "step.observed") if (entry.step or "").startswith("prove_write")]
    assert [entry.body["facts"]["vantage"] for entry in proofs] == ["controller", "controller"]


def test_a_primary_whose_disk_is_full_is_replaced(recoverd: Controller, lab: Lab) -> None:
    lab.break_("full-disk", "db-1")
    run = recoverd.run()
    assert_served_by_a_standby(recoverd, run)


@pytest.mark.parametrize("peers", [("controller",), ("db-2", "db-3"), ("app-1",)])
def test_a_primary_that_somebody_still_reaches_is_left_alone(
    recoverd: Controller, lab: Lab, peers: tuple[str, ...]
) -> None:
    lab.break_("partition", "db-1", peers=peers)
    run = recoverd.run()
    lab.mend("partition", "db-1")
    assert (run.state, "partitioned" in run.summary) == ("refused", True), run.summary
    assert recoverd.changed_nothing(run)
    assert only_writer(lab) == "db-1"


def test_a_healthy_service_is_not_touched(recoverd: Controller, lab: Lab) -> None:
    run = recoverd.run()
    assert (run.state, "healthy" in run.summary) == ("refused", True)
    assert "passes" not in recoverd.entries(run, "run.finished")[0].body
    assert recoverd.changed_nothing(run)


def test_a_plan_says_what_would_be_done_and_changes_nothing(recoverd: Controller, lab: Lab) -> None:
    from flows.failover import carry_out

    lab.break_("kill", "db-1")
    with rehearsal("failover", SERVICE, load(recoverd.inventory)) as plan:
        carry_out(SERVICE)
    would = [step.key.partition("(")[0] for step in plan.planned if step.changes]
    assert would == ["fence_by_ssh", "promote", "claim_address", "follow"]
    assert roles(lab) == {"db-1": "stopped", "db-2": "standby", "db-3": "standby"}
    assert address_holders(lab) == ["db-1"]


def test_without_a_proven_fence_nothing_is_promoted(recoverd: Controller, lab: Lab) -> None:
    recoverd.policy(unfenced_promotion="never")
    fencing = recoverd.inventory / "fencing.yaml"
    fencing.write_text(fencing.read_text().replace("/power]", "/no-such-agent]"))
    lab.break_("partition", "db-1")
    run = recoverd.run()
    assert (run.state, "could not be fenced" in run.summary) == ("refused", True), run.summary
    assert only_writer(lab) == "db-1"


def test_a_standby_that_dies_while_it_is_promoted_is_fenced_and_the_next_best_is_taken(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[str] = []
    real = tasks.postgres.run_script

    def die_once(name, service, host, variables, *, timeout_s):  # type: ignore[no-untyped-def]
        done = real(name, service, host, variables, timeout_s=timeout_s)
        if name == "promote" and not first:
            first.append(host)
            lab.power_off(host)
        return done

    monkeypatch.setattr(tasks.postgres, "run_script", die_once)
    lab.break_("kill", "db-1")
    run = recoverd.run()
    primary = assert_served_by_a_standby(recoverd, run)
    assert primary not in first
    assert recoverd.done(run)[-2:] == ["promote", "claim_address"]
    assert not lab.is_on(first[0])


def test_two_runs_at_the_same_instant_are_one_failover(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    runs = [recoverd.request(), recoverd.request()]
    ended: list[RunRow] = []
    threads = [threading.Thread(target=lambda run=run: ended.append(recoverd.execute(run))) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(run.state for run in ended) == ["refused", "succeeded"]
    assert only_writer(lab) != "db-1"


def test_a_second_failover_within_the_cooldown_is_refused_unless_a_person_overrides_it(
    recoverd: Controller, lab: Lab
) -> None:
    lab.break_("kill", "db-1")
    first = assert_served_by_a_standby(recoverd, recoverd.run())
    lab.break_("kill", first)
    again = recoverd.run()
    assert (again.state, "flapping" in again.summary) == ("refused", True), again.summary
    assert recoverd.entries(again, "run.finished")[0].body["passes"]  # so that an alert that fires on acts again
    assert recoverd.run(override_cooldown=True).state == "succeeded"
    assert only_writer(lab) not in {"db-1", first}


def test_an_alert_about_the_past_is_refused(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    assert_served_by_a_standby(recoverd, recoverd.run())
    stale = recoverd.run(instance=f"{lab.host('db-1').address}:5432", starts_at="2026-01-01T00:00:00Z")
    assert (stale.state, "already failed over" in stale.summary) == ("refused", True)
    assert recoverd.changed_nothing(stale)


def test_an_old_primary_that_comes_back_writable_is_fenced_and_the_new_one_left_alone(
    recoverd: Controller, lab: Lab
) -> None:
    lab.break_("power-off", "db-1")
    primary = assert_served_by_a_standby(recoverd, recoverd.run())
    lab.power_on("db-1")
    lab.start_postgres("db-1")  # somebody starts its PostgreSQL: it has no fence over SSH, only the power was cut
    assert eventually(lambda: roles(lab)["db-1"] == "primary")
    run = recoverd.run()
    assert run.state == "succeeded", run.summary
    assert recoverd.done(run) == ["fence_by_ssh"]
    assert only_writer(lab) == primary


def test_wrong_credentials_are_no_evidence_of_death(recoverd: Controller, lab: Lab, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    wrong.chmod(0o600)
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace(str(lab.layout.secret("postgres")), str(wrong)))
    run = recoverd.run()
    assert run.state == "refused"
    assert recoverd.changed_nothing(run)
    assert "not the password" not in str([entry.body for entry in recoverd.entries(run)])


def test_a_standby_whose_host_key_has_changed_is_neither_trusted_nor_promoted(recoverd: Controller, lab: Lab) -> None:
    hosts = recoverd.inventory / "hosts.yaml"
    known = recoverd.home / "known_hosts"
    original = lab.state / "known_hosts"
    lines = original.read_text().splitlines()
    other = next(line for line in lines if lab.host("app-1").address in line)
    swapped = [
        f"{lab.host('db-2').address} {' '.join(other.split()[1:])}" if lab.host("db-2").address in line else line
        for line in lines
    ]
    known.write_text("\n".join(swapped) + "\n")
    hosts.write_text(hosts.read_text().replace(str(original), str(known)))
    lab.break_("kill", "db-1")
    run = recoverd.run()
    assert assert_served_by_a_standby(recoverd, run) == "db-3"
    choice = next(entry for entry in recoverd.entries(run, "step.decided") if "choose" in (entry.step or ""))
    assert "host key" in choice.body["summary"]


def test_a_standby_with_a_full_disk_is_passed_over(recoverd: Controller, lab: Lab) -> None:
    lab.break_("full-disk", "db-2")
    lab.break_("kill", "db-1")
    assert assert_served_by_a_standby(recoverd, recoverd.run()) == "db-3"


def test_a_controller_with_an_old_epoch_is_refused_by_the_host_itself(recoverd: Controller, lab: Lab) -> None:
    lab.run("db-1", f"mkdir -p /var/lib/recoverd && echo 999 > /var/lib/recoverd/{SERVICE}.epoch")
    lab.run("db-2", f"mkdir -p /var/lib/recoverd && echo 999 > /var/lib/recoverd/{SERVICE}.epoch")
    lab.run("db-3", f"mkdir -p /var/lib/recoverd && echo 999 > /var/lib/recoverd/{SERVICE}.epoch")
    lab.break_("kill", "db-1")
    run = recoverd.run()
    lab.run("db-1", f"rm /var/lib/recoverd/{SERVICE}.epoch")
    lab.run("db-2", f"rm /var/lib/recoverd/{SERVICE}.epoch")
    lab.run("db-3", f"rm /var/lib/recoverd/{SERVICE}.epoch")
    assert (run.state, "epoch" in run.summary) == ("refused", True), run.summary
    assert roles(lab) == {"db-1": "stopped", "db-2": "standby", "db-3": "standby"}


def test_with_synchronous_replication_no_acknowledged_write_is_lost(sync_lab: Lab, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with (
        controller(sync_lab, tmp_path / "home") as recoverd,
        Guard(sync_lab.layout) as guard,
        Writer(sync_lab.layout, ledger) as writer,
    ):
        assert eventually(lambda: writer.acknowledged() >= 50)
        sync_lab.break_("power-off", "db-1")
        run = recoverd.run()
        primary = assert_served_by_a_standby(recoverd, run)
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() >= before + 20)
    address = sync_lab.host(primary).address
    report = check_ledger(ledger, lambda: connect(sync_lab, address, user="app", database="orders"))
    assert (report.lost, report.refused_present, guard.violations) == ((), (), [])


def test_synchronous_names_that_fit_none_of_those_who_are_left_do_not_keep_users_waiting(
    recoverd: Controller, lab: Lab
) -> None:
    for host in ("db-2", "db-3"):
        connection = connect(lab, lab.host(host).address)
        with connection.cursor() as cursor:
            cursor.execute("alter system set synchronous_standby_names = 'FIRST 1 (only_the_old_primary)'")
            cursor.execute("select pg_reload_conf()")
        connection.close()
    lab.break_("kill", "db-1")
    run = recoverd.run()
    assert_served_by_a_standby(recoverd, run)
    assert recoverd.done(run)[-2:] == ["follow", "relax_synchronous"]


def test_a_standby_that_somebody_else_has_told_to_promote_itself_is_fenced_before_another_is_promoted(
    recoverd: Controller, lab: Lab
) -> None:
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace("{host: db-3, priority: 50,", "{host: db-3, priority: 500,"))
    lab.run("db-2", "touch /var/lib/postgresql/data/promote.signal")  # as if its restore_command hung
    lab.break_("kill", "db-1")
    with Guard(lab.layout) as guard:
        run = recoverd.run()
    assert assert_served_by_a_standby(recoverd, run) == "db-3"
    assert roles(lab) == {"db-1": "stopped", "db-2": "stopped", "db-3": "primary"}
    assert not guard.violations


def test_a_supervisor_that_restarts_the_old_primary_in_the_middle_of_it_makes_no_second_writer(
    sync_lab: Lab, tmp_path: Path
) -> None:
    with controller(sync_lab, tmp_path / "home") as recoverd, Guard(sync_lab.layout, interval_s=0.02) as guard:
        sync_lab.break_("kill", "db-1")
        run = recoverd.run()
    assert run.state in {"succeeded", "refused"}, run.summary
    assert not guard.violations
    assert eventually(lambda: len(writers(sync_lab.layout)) == 1)
