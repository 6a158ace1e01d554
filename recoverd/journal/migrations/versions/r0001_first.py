"""The chain, its head, the projections, and the triggers that keep the chain append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _chain()
    _runs()
    _alerts()
    _gates()
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
    else:
        _postgresql_triggers()


def downgrade() -> None:
    raise NotImplementedError("the journal is never taken back: restore a copy instead")


def _big() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=null)


def _chain() -> None:
    op.create_table(
        "entries",
        sa.Column("seq", _big(), primary_key=True, autoincrement=False),
        _text("at"),
        _text("kind"),
        _text("run", null=True),
        _text("incident", null=True),
        _text("step", null=True),
        _text("who"),
        _text("body"),
        _text("prev_hash"),
        _text("hash"),
    )
    op.create_index("entries_run_step", "entries", ["run", "step", "kind"])
    op.create_index("entries_kind", "entries", ["kind"])
    op.create_index("entries_incident", "entries", ["incident"])
    head = op.create_table(
        "head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", _big(), nullable=False),
        _text("hash"),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("seq", _big(), nullable=False),
        *(_text(name) for name in ("procedure", "target", "state", "mode", "trigger")),
        *(_text(name) for name in ("requester", "reason", "options")),
        sa.Column("urgency", sa.Integer, nullable=False),
        _text("incident", null=True),
        _text("alert", null=True),
        _text("created_at"),
        *(_text(name, null=True) for name in ("started_at", "ended_at", "flow_run", "executor")),
        _text("summary"),
    )
    op.create_index("runs_state", "runs", ["state", "urgency", "seq"])
    op.create_index("runs_target", "runs", ["target", "seq"])


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("seq", _big(), nullable=False),
        *(_text(name) for name in ("source", "name", "status")),
        *(_text(name, null=True) for name in ("target", "starts_at")),
        *(_text(name) for name in ("received_at", "last_at")),
        sa.Column("count", sa.Integer, nullable=False),
        *(_text(name) for name in ("outcome", "reason")),
        *(_text(name, null=True) for name in ("run", "incident")),
        _text("body"),
    )
    op.create_index("alerts_received", "alerts", ["received_at"])
    op.create_table(
        "quarantine",
        sa.Column("seq", _big(), primary_key=True, autoincrement=False),
        *(_text(name) for name in ("at", "source", "reason", "body")),
    )


def _gates() -> None:
    op.create_table(
        "approvals",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("run", "gate", "plan_hash")),
        sa.Column("seq", _big(), nullable=False),
        *(_text(name) for name in ("state", "summary")),
        sa.Column("required", sa.Integer, nullable=False),
        *(_text(name) for name in ("roles", "requester", "requested_at", "expires_at")),
        _text("ended_at", null=True),
        _text("decisions"),
    )
    op.create_index("approvals_state", "approvals", ["state"])
    op.create_table(
        "locks",
        sa.Column("target", sa.Text, primary_key=True),
        _text("run", null=True),
        sa.Column("epoch", _big(), nullable=False),
        *(_text(name, null=True) for name in ("acquired_at", "expires_at")),
    )


def _sqlite_triggers() -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    op.execute(f"CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries {refuse}")
    op.execute(f"CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries {refuse}")
    # INSERT OR REPLACE deletes without firing the trigger above
    op.execute(
        "CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries "  # noqa: S608 - constants
        "WHEN EXISTS (SELECT 1 FROM entries WHERE seq >= NEW.seq) " + refuse
    )
    op.execute(f"CREATE TRIGGER head_no_delete BEFORE DELETE ON head {refuse}")
    op.execute(f"CREATE TRIGGER head_only_grows BEFORE UPDATE ON head WHEN NEW.seq <= OLD.seq {refuse}")


def _postgresql_triggers() -> None:
    op.execute(
        "CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$"
    )
    refuse = "EXECUTE FUNCTION journal_is_append_only()"
    op.execute(f"CREATE TRIGGER entries_no_change BEFORE UPDATE OR DELETE ON entries FOR EACH ROW {refuse}")
    op.execute(f"CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON entries FOR EACH STATEMENT {refuse}")
    op.execute(f"CREATE TRIGGER head_no_delete BEFORE DELETE ON head FOR EACH ROW {refuse}")
    op.execute(f"CREATE TRIGGER head_no_truncate BEFORE TRUNCATE ON head FOR EACH STATEMENT {refuse}")
    op.execute(f"CREATE TRIGGER head_only_grows BEFORE UPDATE ON head FOR EACH ROW WHEN (NEW.seq <= OLD.seq) {refuse}")
