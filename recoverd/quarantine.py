"""How the sites of a backup stand, as the journal has it: in order, damaged, or in quarantine for having been tampered with.

A site in quarantine is neither written to nor read from, unless a person names it. A person lifts that, or a heal that has
read every byte of it afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from recoverd.errors import Stale
from recoverd.incidents import Criticality, IncidentClass
from recoverd.journal import Journal, Transaction
from recoverd.raised import close_incident, open_incidents, raise_incident

Verdict = Literal["clean", "damaged", "tampered"]

_KINDS: Mapping[str, Verdict] = {
    "site.tampered": "tampered",
    "site.damaged": "damaged",
    "site.clean": "clean",
    "site.lifted": "clean",
}
_CLASSES: Mapping[Verdict, IncidentClass] = {"tampered": "network-attack", "damaged": "information-damage"}
_MOST_EVIDENCE = 20


@dataclass(frozen=True)
class Standing:
    """What was last judged of a site.

    Attributes:
        evidence: What speaks for it.
        incident: The incident that was opened for it; empty for a clean one.
    """

    site: str
    verdict: Verdict
    at: datetime
    evidence: tuple[str, ...]
    incident: str

    @property
    def summary(self) -> str:
        """One line."""
        rest = f": {self.evidence[0]}" if self.evidence else ""
        return f"{self.verdict} since {self.at:%Y-%m-%d %H:%M} UTC (incident {self.incident}){rest}"


def standings(record: Journal | Transaction, service: str) -> dict[str, Standing]:
    """By site: the last word on it. Sites that nobody has judged are not in it."""
    found = {}
    for entry in record.entries(kinds=list(_KINDS)):
        if entry.body.get("service") == service:
            site, evidence = str(entry.body["site"]), tuple(entry.body.get("evidence", ()))
            found[site] = Standing(site, _KINDS[entry.kind], entry.at, evidence, entry.incident or "")
    return found


def quarantined(record: Journal | Transaction, service: str) -> dict[str, Standing]:
    """Sites that are neither written to nor read from unless they are named."""
    return {name: one for name, one in standings(record, service).items() if one.verdict == "tampered"}


def judge(
    journal: Journal, service: str, site: str, verdict: Verdict, evidence: Sequence[str], *,
    who: str, run: str | None = None, criticality: Criticality = "normal",
) -> str:  # fmt: skip
    """Write down what a site was found to be, and open an incident where it is worse than it was.

    What is known already is not written again; a tampered site does not become a merely damaged one. A site that is clean
    again closes the incident of its damage; that of tampering is for a person to close, by `lift`.

    Returns:
        The incident, be it new or the one that is open for it; empty for a clean site.
    """
    known = standings(journal, service).get(site)
    before: Verdict = known.verdict if known else "clean"
    if (known and before == verdict) or (before, verdict) == ("tampered", "damaged"):
        return known.incident if known else ""
    with journal.transaction() as tx:
        if verdict == "clean":
            if known:
                tx.append(
                    "site.clean", who=who, run=run, incident=known.incident or None, body=_body(service, site, ())
                )
            close_incident(tx, _subject(service, site, "damaged"), "every byte is as it was signed", run=run)
            return ""
        happened = "was tampered with" if verdict == "tampered" else "is damaged"
        summary = f"the backup site {site} of {service} {happened}: {'; '.join(evidence[:_MOST_EVIDENCE])}"
        subject, hint = (
            _subject(service, site, verdict),
            f"recoverd sites verify {service}, then recoverd plan heal {service}",
        )
        incident = raise_incident(
            tx, subject, service, summary, hint, criticality=criticality, kind=_CLASSES[verdict], run=run
        ) or next(one.id for one in open_incidents(tx, service) if one.subject == subject)
        tx.append(f"site.{verdict}", who=who, run=run, incident=incident, body=_body(service, site, evidence))
    return incident


def lift(journal: Journal, service: str, site: str, *, who: str, reason: str, run: str | None = None) -> None:
    """A person's word that a site can be used again: ends its quarantine, and closes the incident of the tampering.

    Raises:
        Stale: It is in no quarantine, and no such incident is open.
    """
    subject = _subject(service, site, "tampered")
    with journal.transaction() as tx:
        found = [one for one in open_incidents(tx, service) if one.subject == subject]
        if not found and site not in quarantined(tx, service):
            raise Stale(f"the site {site} of {service} is in no quarantine", f"see `recoverd sites {service}`")
        body = {**_body(service, site, ()), "reason": reason}
        tx.append("site.lifted", who=who, run=run, incident=found[0].id if found else None, body=body)
        close_incident(tx, subject, reason, run=run)


def _subject(service: str, site: str, verdict: Verdict) -> str:
    return f"backup site {service}/{site} {verdict}"


def _body(service: str, site: str, evidence: Sequence[str]) -> dict[str, object]:
    more = [f"… and {len(evidence) - _MOST_EVIDENCE} more"] if len(evidence) > _MOST_EVIDENCE else []
    return {"service": service, "site": site, "evidence": [*evidence[:_MOST_EVIDENCE], *more]}
