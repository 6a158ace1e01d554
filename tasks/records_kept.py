"""Plans as they are kept in the database that is mended, found again by their hash or by their run."""

from __future__ import annotations

from recoverd.connections import Sql
from recoverd.errors import Invalid
from recoverd.records.plan import Manifest, read_manifest
from tasks.records_session import primary_session
from tasks.views import Facts

_FIND = "select hash, manifest, state, run from recoverd.fixes where {0}"


class Kept(Facts):
    """A plan as it is kept.

    Attributes:
        state: planned, applying or done.
        run: The run that applies or applied it.
    """

    manifest: Manifest
    hash: str
    state: str
    run: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"plan {self.hash[:12]} ({self.state}): {self.manifest.summary}"


def find_plan(service: str, *, digits: str = "", owner: str = "", run: str = "") -> Kept | None:
    """A plan by the beginning of its hash, by what it was made for, or by the run that applied it; None where there is none.

    Raises:
        Invalid: Several begin so.
        Tampered: Its manifest is not the one that the hash is of.
    """
    session = primary_session(service)
    if not session.value("select to_regclass('recoverd.fixes') is not null", timeout_s=5.0):
        return None
    if digits:
        rows = session.rows(_FIND.format("hash like %s"), (f"{digits}%",), timeout_s=5.0)
    else:
        rows = session.rows(_FIND.format("owner = %s or run = %s"), (owner, run), timeout_s=5.0)
    if len(rows) > 1:
        raise Invalid(f"several plans begin with {digits}", "give more of the hash")
    if not rows:
        return None
    row = rows[0]
    manifest = read_manifest(str(row["manifest"]), str(row["hash"]))
    return Kept(manifest=manifest, hash=str(row["hash"]), state=str(row["state"]), run=str(row["run"] or ""))


def plans_of(session: Sql, service: str, schema: str, table: str) -> list[tuple[Manifest, str]]:
    """Fixes of a table that were begun, each with its run. Raises Tampered."""
    if not session.value("select to_regclass('recoverd.fixes') is not null", timeout_s=5.0):
        return []
    rows = session.rows(_FIND.format("state <> 'planned' order by made_at"), timeout_s=10.0)
    found = [(read_manifest(str(row["manifest"]), str(row["hash"])), str(row["run"])) for row in rows]
    return [(fix, run) for fix, run in found if (fix.service, fix.schema_name, fix.table) == (service, schema, table)]
