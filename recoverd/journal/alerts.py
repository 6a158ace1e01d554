"""Alerts: the first of a kind wins, the others are counted; what cannot be read is kept aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import update

from recoverd.errors import Invalid
from recoverd.journal.entries import plain
from recoverd.journal.rows import AlertRow, QuarantineRow
from recoverd.journal.tables import alerts, quarantine
from recoverd.journal.writes import Writes
from recoverd.redact import redact

MAX_QUARANTINE_CHARS = 256 * 1024

_OUTCOME_KINDS = {"recorded": "alert.recorded", "refused": "alert.refused", "started": "alert.accepted"}


class AlertWrites(Writes):
    """The part of a transaction that takes alerts in."""

    def receive_alert(
        self,
        key: str,
        *,
        source: str,
        name: str,
        status: str,
        target: str | None = None,
        starts_at: datetime | None = None,
        incident: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[AlertRow, bool]:
        """Take an alert in; the answer says whether it is new. A repeated one is counted and must not act.

        Writes alert.received, alert.resolved (status `resolved`) or alert.duplicate.
        """
        now, known = self.now(), self.get_alert(key)
        if known is not None:
            self.append("alert.duplicate", who=source, incident=known.incident, run=known.run, body={"key": key})
            changes = update(alerts).where(alerts.c.key == key).values(count=known.count + 1, last_at=now)
            self.connection.execute(changes)
            return self._alert(key), False
        facts = plain(body or {})
        shown = {"key": key, "name": name, "status": status, "target": target, "starts_at": starts_at, "alert": facts}
        kind = "alert.resolved" if status == "resolved" else "alert.received"
        entry = self.append(kind, who=source, incident=incident, body=shown)
        row = AlertRow(
            key=key,
            seq=entry.seq,
            source=source,
            name=name,
            status=status,
            target=target,
            starts_at=starts_at,
            received_at=now,
            last_at=now,
            count=1,
            outcome="resolved" if status == "resolved" else "received",
            reason="",
            run=None,
            incident=incident,
            body=facts,
        )
        self.connection.execute(alerts.insert().values(**{each.name: getattr(row, each.name) for each in fields(row)}))
        return row, True

    def settle_alert(
        self,
        key: str,
        outcome: str,
        *,
        who: str,
        reason: str,
        run: str | None = None,
        incident: str | None = None,
    ) -> AlertRow:
        """Note what became of an alert: `started` (with its run), `recorded` or `refused`, and why."""
        if outcome not in _OUTCOME_KINDS:
            raise Invalid(f"an alert is not {outcome!r}", "one of " + ", ".join(_OUTCOME_KINDS))
        row = self._alert(key)
        changes: dict[str, Any] = {"outcome": outcome, "reason": redact(reason), "run": run or row.run}
        changes["incident"] = incident or row.incident
        body = {"key": key, "name": row.name, "reason": reason}
        self.append(_OUTCOME_KINDS[outcome], who=who, run=changes["run"], incident=changes["incident"], body=body)
        self.connection.execute(update(alerts).where(alerts.c.key == key).values(**changes))
        return replace(row, **changes)

    def quarantine(self, source: str, body: str, reason: str) -> QuarantineRow:
        """Keep a body from a known sender that could not be understood (its first 256 K characters)."""
        kept = redact(body.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00"))[:MAX_QUARANTINE_CHARS]
        facts = {"source": source, "reason": reason, "chars": len(body), "kept_chars": len(kept)}
        entry = self.append("alert.quarantined", who=source, body=facts)
        row = {"seq": entry.seq, "at": entry.at, "source": source, "reason": redact(reason), "body": kept}
        self.connection.execute(quarantine.insert().values(**row))
        return self.list_quarantine(limit=1)[0]

    def _alert(self, key: str) -> AlertRow:
        row = self.get_alert(key)
        if row is None:
            raise Invalid(f"there is no alert {key!r}")
        return row
