"""The password for replication: standbys log in with it, and no server writes it to its log, whatever it logs."""

from __future__ import annotations

import pytest
from failover_kit import Controller, only_writer
from lab_kit import connect, eventually, value
from test_runbook import blocks, paste, printed

from lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

DATA, LOG = "/var/lib/postgresql/data", "/var/lib/postgresql/postgresql.log"
AUTO, PASSFILE = f"{DATA}/postgresql.auto.conf", "/var/lib/recoverd/orders-db.passfile"


def secret(lab: Lab) -> str:
    return lab.layout.secret("replicator").read_text().strip()


def log_everything(lab: Lab, *, with_password: tuple[str, ...]) -> None:
    """Every server logs all statements; some standbys have the password in their connection string, as many are set up."""
    for host in ("db-1", "db-2", "db-3"):
        text = lab.run(host, f"cat {AUTO}").out
        text = "".join(line + "\n" for line in text.splitlines() if not line.startswith("log_statement"))
        if host in with_password:
            text = text.replace("passfile=/var/lib/postgresql/.pgpass", f"password={secret(lab)}")
            assert secret(lab) in text
        lab.run(host, f"cat >{AUTO}", user="postgres", stdin=text + "log_statement = 'all'\n")
        # A start, other than a reload, does not write what has changed to the log.
        lab.run(host, f"/var/lib/postgresql/server/bin/pg_ctl -s -w -D {DATA} -l {LOG} restart", user="postgres")


def streams(lab: Lab, primary: str, standby: str) -> bool:
    with connect(lab, lab.host(primary).address) as connection:
        sql = "select string_agg(application_name, ' ') from pg_stat_replication where state = 'streaming'"
        return standby in str(value(connection, sql)).split()


def assert_in_no_log(lab: Lab) -> None:
    for host in ("db-1", "db-2", "db-3"):
        log = lab.run(host, f"cat {LOG}").out
        assert log
        assert [line for line in log.splitlines() if secret(lab) in line] == [], host


def assert_streams_by_its_own_file(lab: Lab, primary: str, standby: str) -> None:
    assert lab.run(standby, f"stat -c '%U %a' {PASSFILE}").out.split() == ["postgres", "600"]
    assert secret(lab) not in lab.run(standby, f"cat {AUTO}").out
    restart = f"env -i /var/lib/postgresql/server/bin/pg_ctl -s -w -D {DATA} -l {LOG} restart"
    lab.run(standby, restart, user="postgres")  # with nothing in its environment that could have the password
    assert eventually(lambda: streams(lab, primary, standby))


def test_a_standby_with_a_password_in_its_connection_string_follows_and_no_log_has_it(
    recoverd: Controller, lab: Lab
) -> None:
    log_everything(lab, with_password=("db-2", "db-3"))
    lab.break_("kill", "db-1")
    run = recoverd.run()
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    primary = only_writer(lab)
    other = {"db-2": "db-3", "db-3": "db-2"}[primary]
    assert "alter system set primary_conninfo" in lab.run(other, f"cat {LOG}").out
    assert_in_no_log(lab)
    assert_streams_by_its_own_file(lab, primary, other)

    rejoined = recoverd.run("rejoin")
    assert rejoined.state == "succeeded", (rejoined.summary, recoverd.entries(rejoined, "step.failed"))
    assert_streams_by_its_own_file(lab, primary, "db-1")
    assert_in_no_log(lab)
    lab.down()  # its servers log more than those of a new lab


def test_the_runbook_keeps_the_password_out_of_every_log_too(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    log_everything(lab, with_password=("db-3",))
    commands = blocks(printed(capsys, "failover", "from=db-1", "to=db-2"))
    lab.break_("kill", "db-1")
    paste(commands, "Fence db-1 over SSH")
    paste(commands, "Promote db-2")
    assert "db-3|streaming" in paste(commands, "Let db-3 follow db-2")
    assert_streams_by_its_own_file(lab, "db-2", "db-3")
    commands = blocks(printed(capsys, "rejoin", "from=db-1", "to=db-2"))
    paste(commands, "Rewind db-1 to db-2")
    assert "db-1|streaming" in paste(commands, "Start db-1 as a standby of db-2")
    assert_streams_by_its_own_file(lab, "db-2", "db-1")
    assert_in_no_log(lab)
    lab.down()
