"""The writer's ledger, the guard, Alertmanager and the prober tell the truth."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lab_kit import connect, eventually, value

from lab import Lab
from lab.alertmanager import Alertmanager, down_labels, post_alert
from lab.background import Writer
from lab.guard import Guard
from lab.ledger import TABLE, check_ledger, read_ledger
from lab.prober import Prober

pytestmark = pytest.mark.lab


class Webhook:
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.tokens.add(self.headers["Authorization"])
                webhook.alerts += body["alerts"]
                self.send_response(202)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def states(self) -> list[str]:
        return [alert["status"] for alert in self.alerts]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def promote(lab: Lab, host: str) -> None:
    """What a person would do by hand, without a fence."""
    with connect(lab, lab.host(host).address) as connection:
        assert value(connection, "select pg_promote()") is True
    address = lab.layout.virtual_address
    lab.run(host, f"ip address add {address}/24 dev eth0 && arping -q -U -c 1 -I eth0 {address}")


@pytest.mark.parametrize("through", ["virtual-address", "libpq"])
def test_the_writer_goes_on_after_a_failover_and_the_ledger_counts_what_is_kept(
    lab: Lab, tmp_path: Path, through: str
) -> None:
    with Writer(lab.layout, tmp_path / "ledger", through=through, churn=True) as writer, Guard(lab.layout) as guard:
        assert eventually(lambda: writer.acknowledged() >= 30)
        lab.power_off("db-1")
        promote(lab, "db-2")
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() >= before + 30)
    report = check_ledger(
        tmp_path / "ledger", lambda: connect(lab, lab.host("db-2").address, user="app", database="orders")
    )
    assert report.acknowledged == report.kept + len(report.lost) == writer.acknowledged()
    assert report.kept >= 60
    assert report.refused_present == ()
    assert report.longest_gap_s > 0.1
    assert guard.looks > 0
    assert guard.violations == []


def test_with_synchronous_replication_nothing_acknowledged_is_lost(sync_lab: Lab, tmp_path: Path) -> None:
    with Writer(sync_lab.layout, tmp_path / "ledger") as writer:
        assert eventually(lambda: writer.acknowledged() >= 50)
        sync_lab.power_off("db-1")
        received = "select pg_last_wal_receive_lsn() - '0/0'::pg_lsn"
        positions = {host: value(connect(sync_lab, sync_lab.host(host).address), received) for host in ("db-2", "db-3")}
        best = max(positions, key=lambda host: str(positions[host]).zfill(30))
        other = "db-3" if best == "db-2" else "db-2"
        promote(sync_lab, best)
        with connect(sync_lab, sync_lab.host(best).address).cursor() as cursor:
            cursor.execute("alter system set synchronous_standby_names = ''")
            cursor.execute("select pg_reload_conf()")
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() >= before + 20), f"{other} follows nobody yet"
    at = sync_lab.host(best).address
    report = check_ledger(tmp_path / "ledger", lambda: connect(sync_lab, at, user="app", database="orders"))
    assert report.lost == ()


def test_what_a_cut_off_primary_acknowledged_alone_is_counted_as_lost(lab: Lab, tmp_path: Path) -> None:
    with Writer(lab.layout, tmp_path / "ledger") as writer:
        assert eventually(lambda: writer.acknowledged() >= 20)
        lab.break_("partition", "db-1", peers=("db-2", "db-3"))
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() >= before + 20)
        lab.power_off("db-1")
        promote(lab, "db-2")
        assert eventually(lambda: len(read_ledger(tmp_path / "ledger").acknowledged) >= before + 50)
    at = lab.host("db-2").address
    report = check_ledger(tmp_path / "ledger", lambda: connect(lab, at, user="app", database="orders"))
    assert len(report.lost) >= 20
    assert report.acknowledged == report.kept + len(report.lost)


def test_the_guard_sees_two_writers(lab: Lab) -> None:
    with Guard(lab.layout, interval_s=0.02) as guard:
        promote(lab, "db-2")
        assert eventually(lambda: bool(guard.violations))
    assert guard.violations[0] == ("db-1", "db-2")


def test_the_guard_keeps_looking_while_servers_come_and_go(lab: Lab) -> None:
    with Guard(lab.layout, interval_s=0.01) as guard:
        for mode in ("fast", "immediate"):
            program = "/var/lib/postgresql/server/bin/pg_ctl -D /var/lib/postgresql/data"
            lab.run("db-1", f"{program} -m {mode} restart -l /var/lib/postgresql/postgresql.log", user="postgres")
        looks = guard.looks
        assert eventually(lambda: guard.looks > looks + 3)
    assert guard.violations == []


def test_what_keeps_the_guard_from_looking_is_raised(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(_: object) -> tuple[str, ...]:
        raise OSError("blind")

    monkeypatch.setattr("lab.guard.writers", blind)
    with pytest.raises(OSError, match="blind"), Guard(lab.layout, interval_s=0.01) as guard:
        assert eventually(lambda: guard._failure is not None)


def test_a_row_that_vanished_is_reported_as_lost(lab: Lab, tmp_path: Path) -> None:
    with Writer(lab.layout, tmp_path / "ledger") as writer:
        assert eventually(lambda: writer.acknowledged() >= 5)

    def orders() -> Any:
        return connect(lab, lab.layout.virtual_address, user="app", database="orders")

    mark = read_ledger(tmp_path / "ledger").writer
    assert check_ledger(tmp_path / "ledger", orders).lost == ()
    with orders() as connection, connection.cursor() as cursor:
        cursor.execute(f"delete from {TABLE} where writer = %s and id = 3", (mark,))  # noqa: S608 - our own constant
    assert check_ledger(tmp_path / "ledger", orders).lost == (3,)


def test_a_ledger_tells_acknowledged_from_unknown_and_refused(tmp_path: Path) -> None:
    lines = [
        {"writer": "w", "started": 1.0},
        {"id": 1, "acknowledged": 10.0},
        {"id": 2, "acknowledged": 10.5},
        {"id": 3, "unknown": 11.0, "why": "no answer"},
        {"id": 4, "refused": 12.0, "why": "read-only"},
        {"id": 5, "acknowledged": 14.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "ledger").write_text(text + '{"id": 6, "acknow')
    ledger = read_ledger(tmp_path / "ledger")
    assert list(ledger.acknowledged) == [1, 2, 5]
    assert (ledger.unknown, ledger.refused) == ((3,), (4,))
    assert ledger.longest_gap() == (3.5, 10.5)
    assert ledger.first_after(10.5) == 14.0
    assert ledger.first_after(20) is None


def test_an_alert_reaches_the_webhook_with_its_token_and_start(lab: Lab, webhook: Webhook, free_port: int) -> None:
    with Alertmanager(lab.layout, webhook.url, port=free_port) as alertmanager:
        began = post_alert(alertmanager.url, down_labels(lab.layout, "orders-db"))
        assert eventually(lambda: webhook.states() == ["firing"])
        assert webhook.alerts[0]["labels"]["service"] == "orders-db"
        assert webhook.alerts[0]["startsAt"].startswith(began.isoformat()[:19])
        assert webhook.tokens == {f"Bearer {lab.layout.secret('alertmanager').read_text().strip()}"}
        alertmanager.resolve(down_labels(lab.layout, "orders-db"), began)
        assert eventually(lambda: webhook.states() == ["firing", "resolved"])
    assert not alertmanager.is_running


def test_the_prober_fires_when_the_server_is_frozen_and_resolves_when_it_answers(
    lab: Lab, webhook: Webhook, free_port: int
) -> None:
    with (
        Alertmanager(lab.layout, webhook.url, port=free_port) as alertmanager,
        Prober(lab.layout, alertmanager.url, interval_s=0.2, after_s=0.5),
    ):
        lab.break_("freeze", "db-1")
        assert eventually(lambda: webhook.states() == ["firing"])
        lab.mend("freeze", "db-1")
        assert eventually(lambda: webhook.states() == ["firing", "resolved"])
