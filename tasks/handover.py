"""Handing the primary's role over in good order: a clean stop, the proof that nothing is missing, and the way back."""

from __future__ import annotations

import time

from recoverd.errors import Look, RecoverdError
from recoverd.inventory import Service
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.hosts import run_script, view_host
from tasks.postgres import LOGIN_TIMEOUT_S, view_server
from tasks.salvage import WalFacts, wal_facts
from tasks.views import Answer, Facts, lsn_to_text

STOP_LIMIT_S = 30
CATCH_UP_LIMIT_S = 10.0
_EVERY_S = 0.01


def _is_demoted(service: str, host: str) -> Effect | None:
    view = view_host(_service(service), host, connect_timeout_s=LOGIN_TIMEOUT_S)
    if view.answer is not Answer.YES or view.running or view.processes or view.addresses or not view.standby_signal:
        return None
    if view.control_state != "shut down":
        return None
    return Effect(f"{host} is shut down cleanly, and would start read-only", {"host": host, "timeline": view.timeline})


@act(
    "take the primary {host} of {service} out of service and stop it",
    ask=_is_demoted,
    undo="tasks.handover:reinstate",
    time_limit_s=STOP_LIMIT_S + 10.0,
    retries=0,
)
def demote(service: str, host: str) -> None:
    """Take the addresses away and stop the server fast.

    Sessions are not drained by default_transaction_read_only first: a fast stop ends them in the same moment, and a
    setting that outlives a failure would leave a primary that nobody can write to.

    Raises:
        Look: It does not stop in time.
    """
    run_script("demote", _service(service), host, {"TIMEOUT_S": str(STOP_LIMIT_S)}, timeout_s=STOP_LIMIT_S + 10.0)


class Handover(Facts):
    """The proof that a standby has all that the old primary ever wrote.

    Attributes:
        shutdown_lsn: Where the old primary's last record, its shutdown checkpoint, stands.
        replayed_lsn: How far the standby has replayed: beyond that.
    """

    old: str
    new: str
    shutdown_lsn: int
    replayed_lsn: int

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.replayed_lsn <= self.shutdown_lsn:
            return f"{self.new} would have to replay all that {self.old} writes until it is stopped"
        return f"{self.new} has replayed the last record of {self.old}, at {lsn_to_text(self.shutdown_lsn)}"


@observe("check that {new} has all that {old} wrote", time_limit_s=CATCH_UP_LIMIT_S + 20)
def check_handover(service: str, old: str, new: str) -> Handover:
    """Wait until the standby has replayed the stopped primary's shutdown checkpoint, for up to 10 s.

    Raises:
        Look: The old one is not shut down cleanly, or the new one does not have all of its WAL.
    """
    wanted = _service(service)
    facts: WalFacts = wal_facts(wanted, old)
    if world().dry_run:
        return Handover(old=old, new=new, shutdown_lsn=facts.checkpoint_lsn, replayed_lsn=0)
    if facts.running or facts.state != "shut down":
        raise Look(f"{old} is not shut down cleanly but {facts.state}", f"see the log of {old}")
    deadline = time.monotonic() + CATCH_UP_LIMIT_S
    while True:
        view = view_server(wanted, new, connect_timeout_s=world().policy.probe_timeout_s)
        position = view.written_lsn if view.is_primary else view.replayed_lsn
        if position is not None and position > facts.checkpoint_lsn:
            return Handover(old=old, new=new, shutdown_lsn=facts.checkpoint_lsn, replayed_lsn=position)
        if time.monotonic() > deadline:
            where = lsn_to_text(position) or view.problem or view.answer.value
            raise Look(
                f"{new} has not replayed {old}'s last record at {lsn_to_text(facts.checkpoint_lsn)} (it is at {where})",
                f"see the log of {new}",
            )
        time.sleep(_EVERY_S)


def _is_reinstated(service: str, host: str) -> Effect | None:
    wanted = _service(service)
    view = view_host(wanted, host, connect_timeout_s=LOGIN_TIMEOUT_S)
    server = view_server(wanted, host, connect_timeout_s=LOGIN_TIMEOUT_S)
    if view.answer is not Answer.YES or view.standby_signal or view.fenced or not server.is_primary:
        return None
    return Effect(f"{host} is the primary again, on timeline {server.timeline}", {"host": host})


@act("make {host} the primary of {service} again", ask=_is_reinstated, time_limit_s=60.0)
def reinstate(service: str, host: str) -> None:
    """Undo `demote`: start the server as what it was. Only right while no other server was promoted."""
    wanted = _service(service)
    writers = [other for other in wanted.hosts if other != host and _is_writer(wanted, other)]
    if writers:
        raise Look(
            f"{writers[0]} is a primary by now, so {host} is not made one", "see who is what with `recoverd check`"
        )
    runs = _is_writer(wanted, host)
    run_script("reinstate", wanted, host, {"RUNS": "1" if runs else ""}, timeout_s=30.0)
    if not runs:
        run_script("server", wanted, host, {"VERB": "start", "MODE": "fast", "TIMEOUT_S": "30"}, timeout_s=40.0)


def _is_writer(service: Service, host: str) -> bool:
    """Whether a server takes writes: a new session is asked, for a stopping server still answers old ones."""
    here = world()
    try:
        session = here.connections.sql(service, host, timeout_s=LOGIN_TIMEOUT_S, purpose="handover")
        return not session.value("select pg_is_in_recovery()", timeout_s=LOGIN_TIMEOUT_S)
    except RecoverdError:
        return False


def _service(name: str) -> Service:
    return world().inventory.service(name)
