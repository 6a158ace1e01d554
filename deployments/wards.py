"""Isolated hosts are looked at again and again, until they are let back: what has come open raises an incident, and its grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.layers import LAYERS
from flows.proving_isolation import recheck
from recoverd.errors import RecoverdError
from recoverd.execution import hosts_of_run, rehearsal
from recoverd.inventory import Inventory
from recoverd.isolation.proof import Seen
from recoverd.isolation.wards import Ward, by_host, standing
from recoverd.journal import Journal, State, Transaction
from recoverd.raised import close_incident, open_incidents, raise_grade, raise_incident

AT_WORK: tuple[State, ...] = ("requested", "running")
_SUBJECT = "isolation of "


def watched(record: Journal | Transaction) -> dict[str, Ward]:
    """Hosts that were proven to be cut off and should still be, with the run that counts; none that a run works on now."""
    busy = {host for row in record.list_runs(states=AT_WORK) for host in hosts_of_run(record, row.id)}
    return {
        host: wards[-1]
        for host, wards in by_host(ward for ward in standing(record) if ward.proven).items()
        if host not in busy
    }


def look_again(wards: Mapping[str, Ward], inventory: Inventory) -> dict[str, str]:
    """What of the isolation of hosts no longer holds, asked of every layer and of their peers anew; by host, only of those.

    A layer, or the peers, that cannot be asked at all count as open: nobody knows better.
    """
    found: dict[str, list[str]] = {}
    hosts = [host for host in wards if host in inventory.hosts]
    with rehearsal("isolate", ",".join(hosts), inventory):
        for name, layer in LAYERS.items():
            some = [host for host in hosts if name in wards[host].layers]
            if some:
                _gather(found, some, lambda some=some, layer=layer: layer.verify(some).faults)
        _gather(found, hosts, lambda: _reached(hosts, wards))
    return {host: "; ".join(words) for host, words in found.items()}


def _reached(hosts: Sequence[str], wards: Mapping[str, Ward]) -> dict[str, str]:
    before = {host: Seen.model_validate(wards[host].control) for host in hosts}
    proofs = recheck(hosts, before, away=set(wards))
    # Whose witnesses are all isolated by now cannot be proven any more, which is no sign that it is open: its layers are asked.
    return {
        proof.host: proof.summary
        for proof in proofs.hosts
        if proof.leaks or not (proof.proven or {*before[proof.host].witnesses} <= {*wards})
    }


def _gather(found: dict[str, list[str]], hosts: Sequence[str], ask: Any) -> None:
    try:
        said: Mapping[str, str] = ask()
    except RecoverdError as error:
        said = dict.fromkeys(hosts, error.message)
    for host, words in said.items():
        found.setdefault(host, []).append(words)


def note_looks(journal: Journal, looked: Mapping[str, Ward], open_: Mapping[str, str]) -> list[str]:
    """Raise an incident for each host that has come open, and close those of hosts that are shut again or let back.

    The incident that a host was isolated for, if any, rises by one grade each time.

    Returns:
        A line for each that is new.
    """
    known = {one.subject: one for one in open_incidents(journal) if one.subject.startswith(_SUBJECT)}
    if not known and not open_:
        return []  # mostly so, and nobody had to wait for the journal
    told = []
    with journal.transaction() as tx:
        still = watched(tx)
        for host, why in open_.items():
            ward = still.get(host)
            if ward is None or ward.run != looked[host].run:
                continue  # a run has it in hand, or it was let back while we looked
            told += _raise(tx, ward, why)
        stand = {_SUBJECT + host for host in by_host(standing(tx))}
        for subject in known:
            host = subject.removeprefix(_SUBJECT)
            if subject not in stand:
                close_incident(tx, subject, f"{host} was let back")
            elif host in looked and host not in open_:
                close_incident(tx, subject, f"{host} is cut off again")
    return told


def _raise(tx: Transaction, ward: Ward, why: str) -> list[str]:
    row = tx.find_run(ward.run)
    opened = raise_incident(
        tx, _SUBJECT + ward.host, ward.host, f"{ward.host}, which run {ward.run} isolated, is open again: {why}",
        f"recoverd run isolate {ward.host} --reason … cuts it off anew; cut it off at its switch meanwhile",
        criticality="critical", kind="network-attack",
    )  # fmt: skip
    if opened is None:
        return []
    if row is not None and row.incident is not None:
        raise_grade(tx, row.incident, f"{ward.host} came open again: {why}")
    return [f"incident {opened}: {ward.host} is open again: {why}"]
