"""A drill rehearses the very restore that an emergency would use, touches nothing of production, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backup_kit import ROWS, archive_wal, begin_archiving, empty_sites, flip, killed, looked, lose, part_keys
from drill_left_kit import HOST, left, sweep
from failover_kit import SERVICE, Controller, controller, name
from lab_kit import connect, eventually, value

from deployments.drills import keep_up
from gateway.cli.main import run as recoverd_command
from lab import Lab
from recoverd.backup.manifest import Manifest
from recoverd.drills import Drill, drill_of, past_drills
from recoverd.inventory import load
from recoverd.journal import RunRow
from recoverd.raised import open_incidents

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
PHASES = {"look", "fetch", "unpack", "recover", "prove"}


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd with one good backup of a database that fills several parts."""
    empty_sites(backup_lab)
    begin_archiving(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        run = made.run("backup")
        assert run.state == "succeeded", run.summary
        yield made
        for one in made.journal.list_runs(procedure="drill-restore"):
            sweep(backup_lab, one)


@pytest.fixture
def manifest(recoverd: Controller) -> Manifest:
    return looked(recoverd, read=False).manifests[-1]


def passed(recoverd: Controller, run: RunRow) -> Drill:
    assert run.state == "succeeded", run.summary
    found = drill_of(recoverd.journal, run.id)
    assert found is not None
    assert found.passed
    return found


def rows_of(lab: Lab) -> int:
    """All rows of all tables of the service's databases, as the primary has them."""
    total = 0
    for database in ("orders", "postgres"):
        with connect(lab, lab.layout.virtual_address, database=database) as session:
            tables = "select string_agg(format('select count(*) from %I.%I', schemaname, relname), ' union all ') from pg_stat_user_tables"
            counted = value(session, tables)
            total += int(str(value(session, f"select sum(count) from ({counted}) c"))) if counted else 0  # noqa: S608
    return total


@pytest.mark.parametrize("site", ["own", "second", "offsite"])
def test_a_drill_from_each_site_passes_and_its_report_is_true(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, site: str
) -> None:
    found = passed(recoverd, recoverd.run("drill-restore", site=site))
    assert (found.turn, found.sites, found.set) == (site, (site,), manifest.set)
    assert found.bytes == sum(part.size for part in manifest.parts)
    assert found.seconds.keys() >= PHASES
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert 0.9 * sum(found.seconds.values()) - 1 < found.rto_s * 2
    assert found.rto_s > max(found.seconds.values())
    assert found.rows == rows_of(backup_lab) >= ROWS
    assert found.rpo_s is not None
    assert not found.interrupted
    assert left(backup_lab) == ""


def failed(recoverd: Controller, run: RunRow) -> Drill:
    """A drill that failed, with its incident."""
    assert run.state == "failed", run.summary
    found = drill_of(recoverd.journal, run.id)
    assert found is not None
    assert not found.passed
    incidents = open_incidents(recoverd.journal, SERVICE)
    assert [one.summary for one in incidents] == [found.summary]
    assert recoverd.journal.get_run(run.id).incident == incidents[0].id
    return found


def test_a_damaged_site_fails_its_own_drill_and_the_mixed_one_passes_without_it(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    part = part_keys(manifest)[0]
    flip(backup_lab, "second", part)
    lost = failed(recoverd, recoverd.run("drill-restore", site="second"))
    assert manifest.parts[0].name in lost.why
    assert "second: part-000001.age damaged or missing" in lost.why
    assert left(backup_lab) == ""
    again = recoverd.run("drill-restore", site="second")
    assert again.state == "failed"
    assert len(open_incidents(recoverd.journal)) == 1, "one incident, however often it fails"
    found = passed(recoverd, recoverd.run("drill-restore", site="mixed"))
    assert (found.turn, set(found.sites)) == ("mixed", {"own", "second", "offsite"})
    assert open_incidents(recoverd.journal) == ()


def test_data_that_does_not_hold_what_is_asked_of_it_fails_the_drill(recoverd: Controller, backup_lab: Lab) -> None:
    file = recoverd.inventory / "backups.yaml"
    check = '{name: every order is there, database: orders, sql: "select count(*) from goods", expect: "7"}'
    file.write_text(file.read_text().replace("restore:\n", f"restore:\n      checks: [{check}]\n"))
    found = failed(recoverd, recoverd.run("drill-restore", site="own"))
    assert f"every order is there: {ROWS} instead of 7" in found.why
    assert left(backup_lab) == ""
    undo = recoverd.run("undo", run=found.run)
    assert "has changed nothing that could be taken back" in undo.summary


def test_killed_at_any_step_it_goes_on_and_leaves_nothing(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    run = recoverd.request("drill-restore", site="own")
    for step in (
        f"begin_unpacking({SERVICE},{HOST},{len(manifest.parts)})",
        f"recover({SERVICE},{HOST},consistent)",
        f"clear_away({SERVICE},{HOST},{run.id})",
    ):
        assert killed(run, step), step
        assert step.startswith("clear_away") or left(backup_lab), "it stands there until somebody goes on"
    found = passed(recoverd, recoverd.execute(run))
    assert found.interrupted, "its times are those of two processes"
    assert left(backup_lab) == ""
    assert len(past_drills(recoverd.journal)) == 1


def test_what_a_killed_and_cancelled_drill_left_is_cleared_by_the_next(recoverd: Controller, backup_lab: Lab) -> None:
    run = recoverd.request("drill-restore", site="second")
    assert killed(run, f"recover({SERVICE},{HOST},consistent)", "after")
    recoverd.journal.set_run(run.id, "cancelled", who="sre")
    assert run.id in left(backup_lab)
    assert eventually(lambda: not locked(recoverd), timeout_s=60), "the lease of the dead process runs out"
    passed(recoverd, recoverd.run("drill-restore", site="own"))
    assert left(backup_lab) == ""


def locked(recoverd: Controller) -> bool:
    """Whether a drill has the lock."""
    now = recoverd.journal.now()
    held = [lock for lock in recoverd.journal.list_locks() if lock.target == f"drill:{SERVICE}" and lock.run]
    return any(lock.expires_at is not None and lock.expires_at > now for lock in held)


def test_interrupted_by_hand_it_clears_away_first(
    recoverd: Controller, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import drill

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drill, "read_every_table", interrupt)
    run = recoverd.request("drill-restore", site="own")
    with pytest.raises(KeyboardInterrupt):
        recoverd.execute(run)
    assert recoverd.journal.get_run(run.id).state == "cancelled"
    assert left(backup_lab) == ""


def test_a_drill_touches_nothing_of_production(recoverd: Controller, backup_lab: Lab) -> None:
    count = "table inet seen {\n chain out {\n type filter hook output priority 0\n tcp dport 5432 counter\n }\n}\n"
    backup_lab.run(HOST, ["nft", "-f", "-"], stdin=count)
    before = state_of_production(backup_lab)
    try:
        run = recoverd.run("drill-restore", site="second")
        seen = backup_lab.run(HOST, "nft list table inet seen").out
    finally:
        backup_lab.run(HOST, "nft delete table inet seen")
    passed(recoverd, run)
    assert "counter packets 0 bytes 0" in seen, "no packet went to any PostgreSQL"
    assert state_of_production(backup_lab) == before
    alone = next(entry for entry in recoverd.entries(run, "step.observed") if name(entry) == "prove_isolated")
    assert alone.body["facts"]["problems"] == []
    assert alone.body["facts"]["processes"] > 1
    assert alone.body["facts"]["own_network"] is True


def state_of_production(lab: Lab) -> list[object]:
    """What a drill could have changed: the archive, the timeline, who is connected and who follows."""
    address = lab.host(HOST).address
    questions = (
        "select archived_count + failed_count from pg_stat_archiver",
        "select timeline_id from pg_control_checkpoint()",
        f"select count(*) from pg_stat_activity where client_addr = '{address}'",  # noqa: S608
        "select count(*) from pg_stat_replication",
        "select count(*) from pg_replication_slots",
    )
    with connect(lab, lab.layout.virtual_address) as session:
        return [value(session, question) for question in questions]


def test_a_server_with_a_way_out_fails_the_drill(
    recoverd: Controller, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import hosts

    real = hosts.script
    monkeypatch.setattr(hosts, "script", lambda which: real(which).replace("unshare -n true", "false").replace(
        "listen_addresses = ''", "listen_addresses = '127.0.0.1'"
    ))  # fmt: skip
    found = failed(recoverd, recoverd.run("drill-restore", site="own"))
    assert "not isolated" in found.why
    assert "listen_addresses" in found.why
    assert "it has the socket tcp 0100007F:D439" in found.why
    assert left(backup_lab) == ""


def test_where_wal_leads_on_a_random_moment_is_restored_the_same_after_a_kill(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    assert eventually(lambda: primary_clock(backup_lab) > manifest.ended_at + timedelta(seconds=13), timeout_s=20)
    with connect(backup_lab, backup_lab.layout.virtual_address, database="orders") as orders:
        value(orders, "select pg_logical_emit_message(true, 'test', repeat('x', 1000))")
    archive_wal(backup_lab)
    run = recoverd.request("drill-restore", site="second")
    assert killed(run, f"finish_unpacking({SERVICE},{HOST},{len(manifest.parts)})")
    found = passed(recoverd, recoverd.execute(run))
    chosen = [
        entry.body["decision"] for entry in recoverd.entries(run, "step.decided") if name(entry) == "choose_drill"
    ]
    assert len(chosen) == 1
    assert found.point.startswith("time:20")
    assert datetime.fromisoformat(found.point.removeprefix("time:")) == datetime.fromisoformat(
        chosen[0]["to"].replace("Z", "+00:00")
    )
    assert found.rpo_s is not None
    assert found.rpo_s < (found.at - manifest.ended_at).total_seconds() - 10, "WAL leads further than the set"
    assert left(backup_lab) == ""
    latest = passed(recoverd, recoverd.run("drill-restore", site="mixed", to="latest"))
    assert (latest.point, latest.interrupted) == ("latest", False)
    assert latest.seconds["fetch"] > 0
    assert left(backup_lab) == ""


def primary_clock(lab: Lab) -> datetime:
    with connect(lab, lab.layout.virtual_address) as session:
        found = value(session, "select clock_timestamp()")
    assert isinstance(found, datetime)
    return found


def test_sites_take_turns(recoverd: Controller) -> None:
    turns = [passed(recoverd, recoverd.run("drill-restore")).turn for _ in range(3)]
    assert turns == ["own", "second", "offsite"]


def test_a_drill_that_is_overdue_raises_one_incident_and_a_drill_that_passes_closes_it(recoverd: Controller) -> None:
    inventory = load(recoverd.inventory)
    assert keep_up(recoverd.journal, inventory) == [], "a week after the first backup, not at once"
    for _ in range(2):
        started = keep_up(recoverd.journal, inventory, ahead=timedelta(days=11))
    assert started == [], "one is under way already"
    runs = recoverd.journal.list_runs(procedure="drill-restore")
    assert [(run.trigger, run.requester) for run in runs] == [("schedule", "recoverd")]
    assert [one.subject for one in open_incidents(recoverd.journal)] == [f"restore drill of {SERVICE} overdue"]
    passed(recoverd, recoverd.execute(runs[0]))
    assert open_incidents(recoverd.journal) == ()


def test_the_commands_show_drills_and_predict_from_them(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no drill yet" in predicted(capsys)
    flip(backup_lab, "second", part_keys(manifest)[0])
    recoverd.run("drill-restore", site="second")
    recoverd.run("drill-restore", site="own")
    assert "by 1 drills and restores" in predicted(capsys)
    capsys.readouterr()
    assert recoverd_command(["drills", SERVICE, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)[0]
    assert [one["passed"] for one in found["drills"]] == [True, False]
    assert (found["next_turn"], found["overdue"], found["every_days"]) == ("offsite", False, 7)
    assert found["due_at"] > found["last_passed_at"]
    assert {one["turn"]: len(one["rto_s"]) for one in found["trend"]} == {"second": 0, "own": 1}
    assert recoverd_command(["drills"]) == 0
    assert "RTO from own" in capsys.readouterr().out
    assert recoverd_command(["plan", "drill-restore", SERVICE]) == 0
    assert recoverd_command(["drill", "restore", SERVICE, "--site", "own", "--reason", "a test", "--queue"]) == 0


def predicted(capsys: pytest.CaptureFixture[str]) -> str:
    """What a plan of a restore says of its time."""
    capsys.readouterr()
    assert recoverd_command(["plan", "restore", SERVICE, "-o", "json"]) == 0
    steps: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["steps"]
    assert any("ago" in step["finding"] for step in steps if "(RPO)" in step["title"])
    return next(str(step["finding"]) for step in steps if "(RTO)" in step["title"])


def test_a_check_says_whether_the_backup_would_come_back(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problems(capsys) == {}
    recoverd.run("drill-restore", site="own")
    lose(backup_lab, "second", part_keys(manifest)[0])
    backup_lab.break_("freeze", "s3-1")
    file = recoverd.inventory / "backups.yaml"
    file.write_text(
        file.read_text().replace(str(backup_lab.layout.secret("age-identity")), str(other_identity(recoverd)))
    )
    try:
        found = problems(capsys)
    finally:
        backup_lab.mend("freeze", "s3-1")
    assert found.keys() == {"site offsite", "identity"}
    assert "opens nothing" in found["identity"]


def other_identity(recoverd: Controller) -> Path:
    """Somebody else's key."""
    from pyrage import x25519

    path = recoverd.home / "other-identity"
    path.write_text(str(x25519.Identity.generate()))
    path.chmod(0o600)
    return path


def problems(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What a check finds wrong with backups and drills."""
    capsys.readouterr()
    recoverd_command(["check", SERVICE, "-o", "json"])
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    assert {one["area"] for one in found} >= {"backups", "drills"}
    return {
        one["where"]: one["what"] for one in found if one["level"] == "problem" and one["area"] in {"backups", "drills"}
    }
