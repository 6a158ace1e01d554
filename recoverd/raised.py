"""Incidents that recoverd raises itself: opened once for one subject, closed when it is well again. They live in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recoverd.incidents import GRADES, Criticality, Grade, IncidentClass, deadlines, grade
from recoverd.journal import Journal, Transaction
from recoverd.journal.runs import new_run_id

OPENED, CLOSED, GRADED = "incident.opened", "incident.closed", "incident.graded"


@dataclass(frozen=True)
class Incident:
    """An incident that is open.

    Attributes:
        id: Its id; the runs that belong to it have it too.
        subject: What it is about; of one subject only one incident is open.
        summary: What is the matter.
        hint: The operator's next move.
    """

    id: str
    subject: str
    service: str
    opened_at: datetime
    summary: str
    hint: str


def open_incidents(record: Journal | Transaction, service: str | None = None) -> tuple[Incident, ...]:
    """Incidents that nobody has closed, the oldest first."""
    found: dict[str, Incident] = {}
    for entry in record.entries(kinds=[OPENED, CLOSED]):
        subject = str(entry.body.get("subject"))
        if entry.kind == CLOSED:
            found.pop(subject, None)
        elif entry.incident is not None:
            body = entry.body
            found[subject] = Incident(
                entry.incident, subject, str(body["service"]), entry.at, str(body["summary"]), str(body["hint"])
            )
    return tuple(one for one in found.values() if service in {None, one.service})


def raise_incident(
    tx: Transaction, subject: str, service: str, summary: str, hint: str, *, criticality: Criticality = "normal",
    kind: IncidentClass = "software-fault", run: str | None = None,
) -> str | None:  # fmt: skip
    """Open an incident, unless one is open for the subject.

    Nobody is without the service for it, so its grade comes of the service's criticality alone.

    Returns:
        Its id; None where one was open.
    """
    if any(one.subject == subject for one in open_incidents(tx)):
        return None
    now, found = tx.now(), grade(0.0, criticality)
    name = new_run_id("incident", now)
    body = {
        "subject": subject, "service": service, "summary": summary, "hint": hint, "class": kind, "grade": found,
        "deadlines": {one.name: one.due for one in deadlines(found, now)},
    }  # fmt: skip
    tx.append(OPENED, who="recoverd", run=run, incident=name, body=body)
    if run is not None:
        tx.note_run(run, incident=name)
    return name


def raise_grade(tx: Transaction, incident: str, why: str) -> Grade:
    """Write down that an incident is graver than was thought, by one grade, with the deadlines that count from now.

    One that nobody has graded, such as an alert's, counts as the slightest until then.
    """
    now, found = tx.now(), GRADES[0]
    for entry in tx.entries(incident=incident, kinds=[OPENED, GRADED]):
        found = entry.body["grade"]
    graver = GRADES[min(GRADES.index(found) + 1, len(GRADES) - 1)]
    body = {
        "summary": f"grade {found} → {graver}: {why}", "grade": graver, "before": found,
        "deadlines": {one.name: one.due for one in deadlines(graver, now)},
    }  # fmt: skip
    tx.append(GRADED, who="recoverd", incident=incident, body=body)
    return graver


def close_incident(tx: Transaction, subject: str, why: str, *, run: str | None = None) -> None:
    """Close the incident of a subject, if one is open."""
    for one in open_incidents(tx):
        if one.subject == subject:
            body = {"subject": subject, "service": one.service, "summary": why}
            tx.append(CLOSED, who="recoverd", run=run, incident=one.id, body=body)
