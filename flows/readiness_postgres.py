"""Is a PostgreSQL service ready to fail over? Pure rules over what its servers say."""

from __future__ import annotations

from collections.abc import Iterator

from flows.finding import Area, Finding, Level
from recoverd.inventory import Inventory, Service
from tasks.needs import Needs, ServerNeeds
from tasks.replication import needed_synchronous, slot_of
from tasks.views import Answer, ServerView, ServiceView

RETRY_WARNING_MS = 1000
MOST_LAG_SHARE = 0.5


def credentials(needs: Needs, service: Service) -> Iterator[Finding]:
    """recoverd's user logs in and may do what it must; the replication user exists."""
    for server in needs.servers:
        if server.problem:
            view = needs.view.server(server.host)
            area: Area = "credentials" if view.answer is Answer.REJECTED else "reach"
            hint = "check user, password and pg_hba.conf" if area == "credentials" else "see why it is down"
            yield Finding("problem", area, server.host, server.problem, hint)
            continue
        found = list(_rights(server, service))
        user = service.postgres_of(server.host).user
        yield from found or [Finding("ok", "credentials", server.host, f"{user} logs in and has the rights it needs")]


def _rights(server: ServerNeeds, service: Service) -> Iterator[Finding]:
    wanted = service.postgres_of(server.host)
    if not server.superuser:
        level: Level = "warning" if server.may_promote else "problem"
        what = f"{wanted.user} is no superuser" + ("" if server.may_promote else ", and may not promote")
        hint = (
            f"ALTER ROLE {wanted.user} SUPERUSER; or grant it pg_promote, pg_monitor, "
            "ALTER SYSTEM on primary_conninfo, primary_slot_name and synchronous_standby_names, and REPLICATION"
        )
        yield Finding(level, "credentials", server.host, what, hint)
    if not server.replicator:
        what = f"the replication user {wanted.replication_user} "
        what += "does not exist" if server.replicator is None else "may not log in or not replicate"
        hint = f"CREATE or ALTER ROLE {wanted.replication_user} LOGIN REPLICATION on the primary"
        yield Finding("problem", "credentials", server.host, what, hint)


def _of_primaries(view: ServiceView, service: str) -> tuple[str, str]:
    """What is wrong where there is not one primary, and what to do. What nobody has seen is not said to be dead."""
    if view.primaries:
        return f"{', '.join(view.primaries)} are primaries at once", "stop one of them at once"
    if all(server.answer is not Answer.YES for server in view.servers):
        return "no member could be asked", "mend what stands above first: recoverd sees nothing of this service"
    return "no member that answers is a primary", f"recoverd run failover {service} --reason …, or the runbook"


def replication(needs: Needs, service: Service, inventory: Inventory) -> Iterator[Finding]:
    """One primary, every standby streaming from it on its timeline, with little lag."""
    view, primaries = needs.view, needs.view.primaries
    if len(primaries) != 1:
        yield Finding("problem", "replication", service.name, *_of_primaries(view, service.name))
        return
    lead = view.server(primaries[0])
    if lead.read_only:
        hint = "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()"
        yield Finding("problem", "replication", lead.host, "default_transaction_read_only is on", hint)
    for standby in view.servers:
        if standby.host != lead.host and standby.answer is Answer.YES:
            most = inventory.policy_of(service).max_lag_bytes
            found = list(_standby(standby, lead, inventory.host(lead.host).address, most))
            yield from found or [Finding("ok", "replication", standby.host, _streams(standby, lead))]
    yield from _slots(needs, service, lead.host)
    yield from _synchronous(needs, service, lead)


def _standby(standby: ServerView, lead: ServerView, address: str, most_lag: int) -> Iterator[Finding]:
    where = standby.host
    if standby.system_identifier != lead.system_identifier:
        what = f"it is a copy of another database (system identifier {standby.system_identifier})"
        yield Finding("problem", "replication", where, what, "rebuild it by a base backup of the primary")
        return
    receiver = standby.receiver
    if receiver is None or receiver.status != "streaming":
        hint = f"see its log for why; it is told to follow {standby.upstream or 'nobody'}"
        yield Finding("problem", "replication", where, "it does not stream", hint)
        return
    if receiver.sender_host not in {address, lead.host}:
        what = f"it streams from {receiver.sender_host}, not from the primary {lead.host}"
        yield Finding(
            "warning", "replication", where, what, "a cascade is lost with its middle: point it to the primary"
        )
    if standby.timeline != lead.timeline:
        what = f"it is on timeline {standby.timeline}, the primary on {lead.timeline}"
        yield Finding("problem", "replication", where, what, "rejoin it")
    lag = lag_bytes(standby, lead)
    if lag > most_lag:
        what = f"it is {lag} bytes behind, more than the {most_lag} that the policy allows"
        yield Finding(
            "problem", "replication", where, what, "it would not be promoted: see network and disk between them"
        )
    elif lag > most_lag * MOST_LAG_SHARE:
        what = f"it is {lag} bytes behind; from {most_lag} on it is not promoted"
        yield Finding("warning", "replication", where, what, "see network and disk between them")


def lag_bytes(standby: ServerView, lead: ServerView) -> int:
    """How far a standby is behind, as the two looks say, which were not taken at the same instant."""
    return max(0, (lead.written_lsn or 0) - (standby.received_lsn or 0))


def _streams(standby: ServerView, lead: ServerView) -> str:
    return f"it streams from {lead.host} on timeline {standby.timeline}, {lag_bytes(standby, lead)} bytes behind"


def _slots(needs: Needs, service: Service, primary: str) -> Iterator[Finding]:
    server = next(one for one in needs.servers if one.host == primary)
    if not service.postgresql.slots or server.problem:
        return
    have = {slot.name: slot for slot in server.slots}
    for host in service.hosts:
        slot = have.get(slot_of(host))
        if host == primary:
            continue
        if slot is None:
            hint = f"SELECT pg_create_physical_replication_slot('{slot_of(host)}', true) on {primary}"
            yield Finding("warning", "replication", host, f"{primary} keeps no slot for it", hint)
        elif slot.status == "lost":
            yield Finding("problem", "replication", host, f"its slot on {primary} has lost WAL", "rebuild the standby")
    for name in sorted(set(have) - {slot_of(host) for host in service.hosts}):
        if not have[name].active:
            what = f"the slot {name} belongs to no member, is not used, and holds WAL back"
            yield Finding("warning", "replication", primary, what, f"SELECT pg_drop_replication_slot('{name}')")


def _synchronous(needs: Needs, service: Service, lead: ServerView) -> Iterator[Finding]:
    needed, aim = needed_synchronous(lead.synchronous_standby_names), service.objectives
    yield from _differing(needs, lead)
    yield from _strangers(service, needs.view, lead)
    if needed == 0:
        if aim.rpo_s == 0 or (aim.rpo_s is None and aim.rpo_bytes == 0):
            what = "the RPO is 0, and commits wait for no standby: the last ones would be lost"
            yield Finding("warning", "replication", lead.host, what, "set synchronous_standby_names, or a truer RPO")
        return
    working = [one for one in lead.replicas if one.sync_state in {"sync", "quorum"} and one.state == "streaming"]
    what = f"commits wait for {needed} standby{'' if needed == 1 else 's'}, and {len(working)} can confirm"
    if len(working) < needed:
        yield Finding(
            "problem", "replication", lead.host, what, "writes hang: bring a standby back, or clear the setting"
        )
    elif len(working) == needed:
        yield Finding("warning", "replication", lead.host, what, "with the next standby lost, writes hang: add one")
    else:
        yield Finding("ok", "replication", lead.host, what)


def _differing(needs: Needs, lead: ServerView) -> Iterator[Finding]:
    """Patroni sets it on its leader alone; elsewhere all members are meant to have the same."""
    for standby in needs.view.servers if not needs.view.patroni else ():
        own, wanted = standby.synchronous_standby_names, lead.synchronous_standby_names
        if standby.answer is Answer.YES and standby.in_recovery and own != wanted:
            what = f"its synchronous_standby_names is '{own}', that of the primary {lead.host} is '{wanted}'"
            hint = "set it alike: of a primary that is silent, only its standbys can say what a failover may lose"
            yield Finding("warning", "replication", standby.host, what, hint)


def _strangers(service: Service, view: ServiceView, lead: ServerView) -> Iterator[Finding]:
    """Who confirms commits and is no member is not asked by a failover: `*` also takes in whoever only receives WAL."""
    members = {host.lower() for host in service.hosts}
    for one in lead.replicas:
        known = one.address in view.addresses.values() or one.application.lower().replace("_", "-") in members
        if one.sync_state in {"sync", "quorum", "potential"} and not known:
            what = f"commits may be confirmed by {one.application or 'a nameless one'} at {one.address}, which is no member"
            hint = (
                "name members alone in synchronous_standby_names: a failover cannot promote what only a stranger holds"
            )
            yield Finding("warning", "replication", lead.host, what, hint)


def configuration(needs: Needs, service: Service) -> Iterator[Finding]:
    """Settings that a failover and a rejoin depend on, on every member: any of them may become the primary."""
    for server in needs.servers:
        if server.problem:
            continue
        found = list(_settings(server, service))
        yield from found or [Finding("ok", "configuration", server.host, "its settings allow failover and rejoin")]


def _settings(server: ServerNeeds, service: Service) -> Iterator[Finding]:
    where, have = server.host, server.settings
    if have.get("wal_log_hints") != "on" and have.get("data_checksums") != "on":
        what = "neither wal_log_hints nor checksums are on: an old primary could not be rewound"
        yield Finding("problem", "configuration", where, what, "set wal_log_hints = on and restart it")
    for name, why in (("full_page_writes", "pg_rewind needs it"), ("fsync", "a crash could corrupt the data")):
        if have.get(name) == "off":
            yield Finding("problem", "configuration", where, f"{name} is off: {why}", f"set {name} = on")
    if have.get("hot_standby") == "off":
        what = "hot_standby is off: a standby cannot be asked what it holds"
        yield Finding("problem", "configuration", where, what, "set hot_standby = on and restart it")
    if have.get("wal_level") == "minimal":
        yield Finding(
            "problem", "configuration", where, "wal_level is minimal", "set wal_level = replica and restart it"
        )
    others = len(service.members) - 1
    senders, slots = int(have.get("max_wal_senders") or 0), int(have.get("max_replication_slots") or 0)
    if senders < others + 1:
        what = f"max_wal_senders is {senders}: {others} standbys and a base backup need {others + 1}"
        yield Finding("problem", "configuration", where, what, f"set max_wal_senders = {max(10, others + 2)}")
    if service.postgresql.slots and slots < others:
        what = f"max_replication_slots is {slots}, and {others} are needed"
        yield Finding("problem", "configuration", where, what, f"set max_replication_slots = {max(10, others)}")
    yield from _waiting(server, service)


def _waiting(server: ServerNeeds, service: Service) -> Iterator[Finding]:
    where, have = server.host, server.settings
    retry_ms = int(have.get("wal_retrieve_retry_interval") or 0)
    if retry_ms > RETRY_WARNING_MS:
        what = f"wal_retrieve_retry_interval is {retry_ms / 1000:g} s: a promotion may sleep that long"
        yield Finding("warning", "configuration", where, what, "set wal_retrieve_retry_interval = 100ms")
    if not service.postgresql.slots and int(have.get("wal_keep_size") or 0) == 0:
        what = "neither slots nor wal_keep_size keep WAL for a standby that was away"
        yield Finding("warning", "configuration", where, what, "set slots: true in services.yaml, or wal_keep_size")
    if service.postgresql.slots and have.get("max_slot_wal_keep_size") == "-1":
        what = "max_slot_wal_keep_size is -1: a standby that stays away fills the primary's disk"
        yield Finding("warning", "configuration", where, what, "set it to what the disk can spare")
    if have.get("restore_command"):
        what = "restore_command is set: when it hangs, it holds a promotion up"
        yield Finding("warning", "configuration", where, what, "give it a limit: timeout 30 …")
