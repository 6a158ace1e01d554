"""The lines of a salvage file: what lost transactions did, in their order, and what is known of the rows before."""

from __future__ import annotations

import pytest

from recoverd.errors import Look
from tasks.changes import Found, Table, Version, suggestions, tell
from tasks.salvage import WalFacts, own_stretches
from tasks.wal import Change, Commit, Dump, Stretch, history

DB, FILE = 5, 9
TABLE = Table("shop", DB, FILE, 9, "public", "orders", "r", ("id",))
SEQUENCE = Table("shop", DB, 20, 20, "public", "orders_id_seq", "S")
CATALOG = Table("shop", DB, 1259, 1259, "pg_catalog", "pg_class", "r")


def insert(xid: int, *new: int) -> Change:
    return Change(xid, "insert", DB, FILE, new=(new[0], new[1]))


def update(xid: int, old: tuple[int, int], new: tuple[int, int]) -> Change:
    return Change(xid, "update", DB, FILE, old=old, new=new)


def delete(xid: int, old: tuple[int, int]) -> Change:
    return Change(xid, "delete", DB, FILE, old=old)


def dump(*changes: Change) -> Dump:
    xids = dict.fromkeys(change.xid for change in changes)
    return Dump([Commit(xid, f"at {xid}", "0/1") for xid in xids], list(changes))


def found(**more: object) -> Found:
    made = Found(tables={(DB, FILE): TABLE, (DB, 20): SEQUENCE, (DB, 1259): CATALOG})
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_an_inserted_row_is_told_with_its_key_and_its_transaction() -> None:
    rows = {(TABLE, (0, 1)): Version(100, {"id": 7, "what": "tea"})}
    told = tell(dump(insert(100, 0, 1)), found(rows=rows))
    assert told.lines == [
        {
            "xid": 100,
            "committed_at": "at 100",
            "database": "shop",
            "table": "public.orders",
            "action": "insert",
            "key": {"id": 7},
            "row": {"id": 7, "what": "tea"},
        }
    ]


def test_a_row_version_that_was_changed_again_is_told_without_values_and_the_last_one_with() -> None:
    rows = {(TABLE, (0, 2)): Version(101, {"id": 7, "what": "coffee"})}
    first, second = tell(dump(insert(100, 0, 1), update(101, (0, 1), (0, 2))), found(rows=rows)).lines
    assert first["row"] is None
    assert "changed again" in first["note"]
    assert second["row"] == {"id": 7, "what": "coffee"}
    assert second["old"] is None


def test_the_row_before_is_read_from_the_new_primary_only_when_it_is_older_than_every_lost_transaction() -> None:
    changes = dump(delete(100, (0, 1)), delete(100, (0, 2)), delete(100, (0, 3)))
    old_rows = {(TABLE, (0, 1)): Version(90, {"id": 1}), (TABLE, (0, 2)): Version(103, {"id": 99})}
    before, taken, gone = tell(changes, found(old_rows=old_rows)).lines
    assert (before["old"], before["key"]) == ({"id": 1}, {"id": 1})
    assert taken["old"] is None
    assert "taken by another row" in taken["note"]
    assert gone["old"] is None
    assert "no longer to be found" in gone["note"]


def test_a_place_that_was_used_twice_is_told_with_the_row_of_its_last_maker_only() -> None:
    rows = {(TABLE, (0, 1)): Version(102, {"id": 8})}
    lines = tell(dump(insert(100, 0, 1), delete(101, (0, 1)), insert(102, 0, 1)), found(rows=rows)).lines
    assert [line["row"] for line in lines] == [None, None, {"id": 8}]


def test_rows_that_one_record_wrote_into_a_block_are_told_one_by_one_and_once() -> None:
    rows = {
        (TABLE, (0, 1)): Version(90, {"id": 1}),
        (TABLE, (0, 2)): Version(100, {"id": 2}),
        (TABLE, (0, 3)): Version(100, {"id": 3}),
    }
    lines = tell(dump(insert(100, 0, 0), insert(100, 0, 0)), found(rows=rows)).lines
    assert [line["key"] for line in lines] == [{"id": 2}, {"id": 3}]


def test_transaction_ids_that_went_round_are_compared_as_postgresql_does() -> None:
    old_rows = {(TABLE, (0, 1)): Version(4294967290, {"id": 1})}
    (line,) = tell(dump(delete(5, (0, 1))), found(old_rows=old_rows)).lines
    assert line["old"] == {"id": 1}


def test_changes_of_definitions_and_of_files_without_a_table_are_counted() -> None:
    told = tell(dump(Change(100, "insert", DB, 1259, new=(0, 1)), Change(100, "insert", DB, 77, new=(0, 1))), found())
    assert told.catalog == {"pg_class": 1}
    assert told.unknown == {"5/77": 1}
    assert not told.lines


def test_a_sequence_is_told_once_with_its_last_value() -> None:
    change = Change(100, "sequence", DB, 20)
    told = tell(dump(change, change), found(sequences={SEQUENCE: {"last_value": 33}}))
    assert [line["row"] for line in told.lines] == [{"last_value": 33}]


def test_suggestions_put_rows_back_only_where_their_key_is_free_and_quote_what_they_hold() -> None:
    rows = {(TABLE, (0, 1)): Version(100, {"id": 7, "what": "it's"})}
    sql = suggestions(tell(dump(insert(100, 0, 1)), found(rows=rows)), [TABLE])
    assert '\\connect "shop"' in sql
    assert '\'{"id": 7, "what": "it\'\'s"}\') on conflict do nothing;' in sql


def test_two_timelines_of_one_number_are_not_taken_for_one() -> None:
    theirs = history("1\t0/5000000\tno recovery target specified\n", 2)
    facts = WalFacts(data_dir=True, timeline=2, history="1\t0/6000000\tno recovery target specified\n")
    with pytest.raises(Look, match="of the same number"):
        own_stretches(facts, theirs)
    assert own_stretches(facts.model_copy(update={"history": "1\t0/5000000\tx\n"}), theirs) == ()
    assert own_stretches(facts.model_copy(update={"history": ""}), theirs) == ()
    older = facts.model_copy(update={"timeline": 1, "history": ""})
    assert own_stretches(older, theirs) == (Stretch(1, 0x5000000),)
