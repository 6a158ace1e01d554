"""What the journal says of backup sites, as moments of a timeline."""

from __future__ import annotations

from recoverd.journal import Entry
from recoverd.timeline.model import Read, What


def wal(entry: Entry) -> Read:
    """What began or ended with the WAL on its way to the sites."""
    body = entry.body
    began = body.get("what") == "began"
    words = str(body.get("words")) if began else f"no longer so: {body.get('words')}"
    return "trouble" if began else "record", f"WAL of {body.get('service')} to its sites", words, ()


def bad(entry: Entry) -> Read:
    """Files that a restore found damaged or missing."""
    found = [f"{site} had {', '.join(names)} damaged or not at all" for site, names in entry.body["bad"].items()]
    return "trouble", f"sites of {entry.body.get('service')}", "; ".join(found), ()


def judged(entry: Entry) -> Read:
    """A site that is called tampered with or damaged, or is clean again."""
    body, kind = entry.body, entry.kind.partition(".")[2]
    evidence = tuple(str(one) for one in body.get("evidence") or ())
    words = {"lifted": f"is used again: {body.get('reason')}", "clean": "is clean again"}
    text = words.get(kind) or f"is {kind}{': ' + evidence[0] if evidence else ''}"
    what: What = "record" if kind in words else "trouble"
    return what, f"site {body.get('site')}", f"the site {body.get('site')} {text}", evidence[1:]
