"""Standbys: leading them to another primary, and what they need there."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import make_dsn, parse_dsn

from recoverd.errors import Look, Unreachable
from recoverd.inventory import Service
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.hosts import run_script
from tasks.postgres import LOGIN_TIMEOUT_S, QUERY_TIMEOUT_S, view_server
from tasks.views import Answer, Facts, ServerView

FOLLOW_TIME_LIMIT_S = 30.0
CONFIRM_LIMIT_S = 2.0
_EVERY_S = 0.02


def slot_of(host: str) -> str:
    """Name of the replication slot of a member; slot names know no hyphens and no dots."""
    return re.sub(r"[^a-z0-9_]", "_", host.lower())


def _follows(service: str, host: str, primary: str) -> Effect | None:
    here = world()
    wanted = here.inventory.service(service)
    limit_s = here.policy.probe_timeout_s
    view = view_server(wanted, host, connect_timeout_s=limit_s)
    if view.answer is not Answer.YES or not view.in_recovery or view.receiver is None:
        return None
    if view.receiver.status != "streaming" or view.receiver.sender_host != here.inventory.host(primary).address:
        return None
    lead = view_server(wanted, primary, connect_timeout_s=limit_s)
    if not lead.is_primary or lead.timeline != view.timeline:
        return None
    return Effect(
        f"{host} streams from {primary} on timeline {view.timeline}", {"host": host, "timeline": view.timeline}
    )


@act("let {host} follow {primary}", ask=_follows, time_limit_s=FOLLOW_TIME_LIMIT_S)
def follow(service: str, host: str, primary: str) -> None:
    """Point a running standby to a primary and let its WAL receiver start anew, without a restart.

    All of its old connection string that is not an address is kept: user, password file, TLS. A password in it goes to a
    file: the server's log has every statement that sets it, and every new value that a reload brings.
    """
    here = world()
    wanted = here.inventory.service(service)
    if wanted.postgresql.slots:
        ensure_slot(wanted, primary, host)
    session = here.connections.sql(wanted, host, timeout_s=LOGIN_TIMEOUT_S)
    now = str(session.value("select current_setting('primary_conninfo')", timeout_s=QUERY_TIMEOUT_S) or "")
    login = login_to(wanted, host, primary, now)
    run_script("standby", wanted, host, {"VERB": "passfile", **login.variables}, timeout_s=15.0)
    session.rows(f"alter system set primary_conninfo = {_literal(login.conninfo)}", timeout_s=QUERY_TIMEOUT_S)
    slot = slot_of(host) if wanted.postgresql.slots else ""
    session.rows(f"alter system set primary_slot_name = {_literal(slot)}", timeout_s=QUERY_TIMEOUT_S)
    session.rows("select pg_reload_conf()", timeout_s=QUERY_TIMEOUT_S)


def ensure_slot(service: Service, primary: str, host: str) -> None:
    """Make the physical slot of `host` on `primary`, reserving WAL from now on; slots do not survive a failover."""
    session = world().connections.sql(service, primary, timeout_s=LOGIN_TIMEOUT_S)
    session.rows(
        "select pg_create_physical_replication_slot(%s, true) "
        "where not exists (select 1 from pg_replication_slots where slot_name = %s)",
        (slot_of(host), slot_of(host)),
        timeout_s=QUERY_TIMEOUT_S,
    )


@dataclass(frozen=True)
class Login:
    """How a standby logs in to its primary.

    Attributes:
        conninfo: Its connection string, without a password.
        passfile: Our password file on the standby's host.
        passline: The line in it; empty where the standby has a login of its own: another file, a certificate.
    """

    conninfo: str
    passfile: str
    passline: str = field(default="", repr=False)

    @property
    def variables(self) -> dict[str, str]:
        """For the script that writes the file."""
        return {"PASSFILE": self.passfile, "PASSLINE": self.passline}


def login_to(service: Service, host: str, primary: str, now: str) -> Login:
    """The login with which `host` streams from `primary`, made from the connection string that it has now.

    Raises:
        Look: The password cannot stand in a password file.
    """
    here = world()
    server = service.postgres_of(primary)
    parts: dict[str, Any] = parse_dsn(now) if now else {}
    parts.pop("hostaddr", None)
    user, password, ours = parts.get("user"), str(parts.pop("password", "")), passfile_of(service.name)
    known = server.replication_password
    # Our file may be missing where the string was copied here from another host.
    lacks = not user or (user == server.replication_user and parts.get("passfile") == ours)
    if lacks and not password and known is not None:
        password = known.resolve()
    parts.setdefault("user", server.replication_user)
    if password:
        parts["passfile"] = ours
    parts |= {"host": here.inventory.host(primary).address, "port": str(server.port)}
    parts.setdefault("application_name", host)
    return Login(str(make_dsn(**parts)), ours, passline(parts["user"], password) if password else "")


def passfile_of(service: str) -> str:
    """Where recoverd writes a standby's password for replication, on the standby's host; the server's user alone reads it."""
    return f"/var/lib/recoverd/{service}.passfile"


def passline(user: str, password: str) -> str:
    r"""A line of a password file, for whatever primary there is.

    >>> passline("replicator", r"a:b\c")
    '*:*:*:replicator:a\\:b\\\\c'

    Raises:
        Look: A password file cannot hold it.
    """
    if "\n" in user + password:
        raise Look("the replication password has a line break", "a password file cannot hold it: change the password")
    escaped = (re.sub(r"([\\:])", r"\\\1", text) for text in (user, password))
    return "*:*:*:" + ":".join(escaped)


def needed_synchronous(names: str) -> int:
    """How many standbys must confirm a commit, by synchronous_standby_names.

    >>> needed_synchronous("ANY 1 (db_1, db_2)"), needed_synchronous("FIRST 2 (a, b, c)"), needed_synchronous("a, b")
    (1, 2, 1)
    >>> needed_synchronous("2 (a, b)"), needed_synchronous("")
    (2, 0)
    """
    text = names.strip()
    if not text:
        return 0
    found = re.match(r"(?i)(?:(?:any|first)\s+)?(\d+)\s*\(", text)
    return int(found[1]) if found else 1


def listed_synchronous(names: str) -> tuple[str, ...]:
    """The application names in synchronous_standby_names, unquoted, in lower case, as they are compared; `*` is any.

    >>> listed_synchronous('ANY 1 ("db-1", Db_2)'), listed_synchronous("2 (*)"), listed_synchronous("a, b")
    (('db-1', 'db_2'), ('*',), ('a', 'b'))
    """
    inside = re.sub(r"(?is)^\s*(?:(?:any|first)\s+)?\d+\s*\((.*)\)\s*$", r"\1", names)
    found = re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', inside)
    return tuple((quoted.replace('""', '"') or plain).lower() for quoted, plain in found)


class Confirming(Facts):
    """The standbys whose confirmation a primary's commits may wait for, and how many it takes."""

    standbys: tuple[str, ...]
    needed: int

    @property
    def enough(self) -> bool:
        """Whether commits go on."""
        return len(self.standbys) >= self.needed

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"commits wait for {self.needed} of: {', '.join(self.standbys) or 'nobody that is there'}"


@observe("see who confirms the commits of {host}", time_limit_s=CONFIRM_LIMIT_S + 10)
def observe_confirming(service: str, host: str) -> Confirming:
    """Which standbys count, waiting for a moment while they join: synchronous_standby_names may name others than there are.

    Names that were right for the old primary may name the new one itself, or only the old.
    """
    here = world()
    deadline = time.monotonic() + CONFIRM_LIMIT_S
    while True:
        view = view_server(here.inventory.service(service), host, connect_timeout_s=here.policy.probe_timeout_s)
        counted = tuple(one.application for one in view.replicas if one.sync_state in {"sync", "quorum"})
        found = Confirming(standbys=counted, needed=needed_synchronous(view.synchronous_standby_names))
        if (view.answer is Answer.YES and found.enough) or time.monotonic() > deadline:
            return found
        time.sleep(_EVERY_S)


def _is_relaxed(service: str, host: str) -> Effect | None:
    here = world()
    view = view_server(here.inventory.service(service), host, connect_timeout_s=here.policy.probe_timeout_s)
    if view.answer is not Answer.YES:
        raise Unreachable(f"{host} does not answer: {view.problem}", "see why with `recoverd check`")
    if view.synchronous_standby_names:
        return None
    return Effect(f"commits on {host} wait for no standby", {"host": host})


def _names(service: str, host: str) -> dict[str, Any]:
    view: ServerView = view_server(world().inventory.service(service), host, connect_timeout_s=LOGIN_TIMEOUT_S)
    return {"names": view.synchronous_standby_names}


@act(
    "let commits on {host} go on without a synchronous standby",
    ask=_is_relaxed,
    undo="tasks.replication:restore_synchronous",
    remember=_names,
    time_limit_s=15.0,
)
def relax_synchronous(service: str, host: str) -> None:
    """Clear synchronous_standby_names where too few standbys are left, so that users are served."""
    _set_synchronous(service, host, "")


def _is_restored(service: str, host: str, remembered: dict[str, Any]) -> Effect | None:
    view = view_server(world().inventory.service(service), host, connect_timeout_s=LOGIN_TIMEOUT_S)
    if view.answer is not Answer.YES or view.synchronous_standby_names != remembered["names"]:
        return None
    return Effect(f"commits on {host} wait for {remembered['names']} again", {"host": host})


@act("let commits on {host} wait for synchronous standbys again", ask=_is_restored, time_limit_s=15.0)
def restore_synchronous(service: str, host: str, remembered: dict[str, Any]) -> None:
    """Undo `relax_synchronous`."""
    _set_synchronous(service, host, str(remembered["names"]))


def _set_synchronous(service: str, host: str, names: str) -> None:
    wanted = world().inventory.service(service)
    run_script("guard", wanted, host, {}, timeout_s=15.0)
    session = world().connections.sql(wanted, host, timeout_s=LOGIN_TIMEOUT_S)
    session.rows(f"alter system set synchronous_standby_names = {_literal(names)}", timeout_s=QUERY_TIMEOUT_S)
    session.rows("select pg_reload_conf()", timeout_s=QUERY_TIMEOUT_S)


def _literal(text: str) -> str:
    """A quoted SQL literal: ALTER SYSTEM takes no parameters."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
