"""Nobody changes what was written without being found out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from recoverd.errors import Invalid
from recoverd.journal import Anchor, Journal, verify_export

TEN = range(1, 11)


@pytest.fixture
def chain(journal: Journal) -> Journal:
    """A journal of ten entries."""
    with journal.transaction() as tx:
        for number in TEN:
            tx.append(
                "step.done", who="alice", run="fo-1", step=f"s{number}", body={"number": number, "text": "déjà 数据"}
            )
    return journal


def tamper(journal: Journal, *statements: str) -> None:
    """Write to the tables as somebody would who owns the database: the triggers switched off."""
    off = {
        True: [f"DROP TRIGGER {name}" for name in ("entries_no_update", "entries_no_delete", "head_only_grows")],
        False: ["SET LOCAL session_replication_role = replica"],
    }[journal.database.is_sqlite]
    with journal.database.engine.connect() as connection:
        for statement in (*off, *statements):
            connection.execute(text(statement))
        connection.commit()


def found(journal: Journal, anchor: Anchor | None = None) -> list[tuple[int, str]]:
    return [(problem.seq, problem.what) for problem in journal.verify(anchor).problems]


def test_an_untouched_chain_is_whole_and_without_gaps(chain: Journal) -> None:
    result = chain.verify(chain.anchor())
    assert result.ok
    assert result.count == 10
    assert [entry.seq for entry in chain.entries()] == list(TEN)
    assert result.end == chain.anchor()


def test_an_empty_journal_is_whole(journal: Journal) -> None:
    assert journal.verify().ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}' WHERE seq = 4",
        "DELETE FROM entries WHERE seq = 4",
        "DELETE FROM entries",
        "UPDATE head SET seq = 3",
        "DELETE FROM head",
    ],
)
def test_the_database_itself_refuses_to_change_the_chain(chain: Journal, statement: str) -> None:
    with chain.database.engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))
    assert chain.verify().ok


def test_replacing_and_truncating_are_refused_too(chain: Journal) -> None:
    statement = (
        "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE seq = 4"
        if chain.database.is_sqlite
        else "TRUNCATE entries"
    )
    with chain.database.engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))
    assert chain.verify().count == 10


@pytest.mark.parametrize(
    "change",
    [
        "body = '{}'",
        "body = body || ' '",
        "body = 'no json'",
        "who = 'mallory'",
        "at = '2020-01-01T00:00:00.000000Z'",
        "at = 'yesterday'",
        "kind = 'step.failed'",
        "run = NULL",
        "step = 'other'",
        "incident = 'inc-1'",
        "hash = prev_hash",
    ],
)
def test_an_edited_entry_is_named(chain: Journal, change: str) -> None:
    tamper(chain, f"UPDATE entries SET {change} WHERE seq = 5")  # noqa: S608
    assert (5, "edited") in found(chain)
    assert all(seq in (5, 6) for seq, _what in found(chain))


def test_an_edit_whose_hash_was_made_to_fit_is_found_at_its_successor(chain: Journal) -> None:
    entries = list(chain.entries())
    forged = entries[4].__class__(**{**entries[4].__dict__, "who": "mallory"})
    from recoverd.journal.entries import digest

    tamper(chain, f"UPDATE entries SET who = 'mallory', hash = '{digest(forged)}' WHERE seq = 5")  # noqa: S608
    assert found(chain) == [(6, "replaced")]
    assert (5, "replaced") in found(chain, Anchor(5, entries[4].hash))


def test_removed_entries_are_counted_and_named(chain: Journal) -> None:
    tamper(chain, "DELETE FROM entries WHERE seq IN (4, 5)")
    problems = chain.verify().problems
    assert [(p.seq, p.what, p.detail) for p in problems] == [(4, "removed", "entries 4 to 5")]


def test_the_first_entry_removed_is_found(chain: Journal) -> None:
    tamper(chain, "DELETE FROM entries WHERE seq = 1")
    assert found(chain) == [(1, "removed")]


def test_a_removed_end_is_found_by_the_head(chain: Journal) -> None:
    tamper(chain, "DELETE FROM entries WHERE seq > 8")
    assert found(chain) == [(9, "removed")]


def test_a_removed_end_with_its_head_set_back_is_found_by_an_anchor(chain: Journal) -> None:
    anchor = chain.anchor()
    tamper(
        chain,
        "DELETE FROM entries WHERE seq > 8",
        "UPDATE head SET seq = 8, hash = (SELECT hash FROM entries WHERE seq = 8)",
    )
    assert found(chain) == []
    assert found(chain, anchor) == [(9, "removed")]


def test_two_entries_that_changed_places_are_both_named(chain: Journal) -> None:
    tamper(
        chain,
        "UPDATE entries SET seq = -4 WHERE seq = 4",
        "UPDATE entries SET seq = 4 WHERE seq = 7",
        "UPDATE entries SET seq = 7 WHERE seq = -4",
    )
    problems = {p.seq: (p.what, p.detail) for p in chain.verify().problems}
    assert problems[4] == ("reordered", "it was written as entry 7")
    assert problems[7] == ("reordered", "it was written as entry 4")


def test_a_gap_that_was_closed_by_renumbering_is_found(chain: Journal) -> None:
    tamper(chain, "DELETE FROM entries WHERE seq = 5", "UPDATE entries SET seq = 5 WHERE seq = 6")
    assert (5, "reordered") in found(chain)


def test_an_entry_added_behind_the_head_is_found(chain: Journal) -> None:
    tamper(
        chain,
        "INSERT INTO entries SELECT 11, at, kind, run, incident, step, who, body, hash, hash FROM entries WHERE seq = 10",
    )
    assert (11, "edited") in found(chain) or (11, "reordered") in found(chain)


def test_a_lost_head_is_found(chain: Journal) -> None:
    trigger = ("DROP TRIGGER head_no_delete",) if chain.database.is_sqlite else ()
    tamper(chain, *trigger, "DELETE FROM head")
    assert found(chain) == [(0, "removed")]


def test_an_export_can_be_verified_without_recoverd(chain: Journal, tmp_path: Path) -> None:
    """The recipe that the documentation gives: nothing but a JSON library and SHA-256."""
    import hashlib

    path = exported(chain, tmp_path)
    previous = "0" * 64
    for line in path.read_text(encoding="utf-8").splitlines()[:-1]:
        entry = json.loads(line)
        digest = entry.pop("hash")
        assert entry["prev_hash"] == previous
        text_ = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text_.encode()).hexdigest() == digest
        previous = digest
    assert previous == chain.anchor().hash


def test_an_exported_file_verifies_and_ends_where_the_journal_ends(chain: Journal, tmp_path: Path) -> None:
    result = verify_export(exported(chain, tmp_path))
    assert result.ok
    assert result.end == chain.anchor()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: [*lines[:3], lines[3].replace("alice", "mallory"), *lines[4:]], (4, "edited")),
        (lambda lines: [*lines[:3], *lines[4:]], (4, "removed")),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], (4, "removed")),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], (4, "reordered")),
        (lambda lines: lines[:7], (8, "removed")),
        (lambda lines: [*lines[:7], lines[-1]], (8, "removed")),
        (lambda lines: [*lines[:3], "{broken", *lines[3:]], (4, "unreadable")),
        (lambda lines: [*lines[:3], "[]", *lines[3:]], (4, "unreadable")),
        (lambda lines: [], (1, "removed")),
    ],
)
def test_a_changed_export_is_found_out(chain: Journal, tmp_path: Path, change, expected) -> None:
    path = exported(chain, tmp_path)
    lines = change(path.read_text(encoding="utf-8").splitlines())
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    assert expected in [(p.seq, p.what) for p in verify_export(path).problems]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PGDMP\x01\x0e\xff\xfe garbage\n" * 500, "line 1 is not JSON"),
        (b"\n\n{}\n", "line 1 is empty"),
        (b'{"name": "a package"}\n', "line 1 is no entry of a journal"),
        (b"[1, 2]\n3\n", "line 1 is no entry of a journal"),
        (b"\x00" * 5000, "line 1 is not JSON"),
    ],
)
def test_a_file_that_is_something_else_is_said_to_be_in_one_sentence(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        verify_export(path)
    assert refused.value.message == f"{path} is no export of a journal: {words}"
    assert "recoverd journal export" in refused.value.hint


def test_an_export_that_was_written_anew_throughout_is_a_broken_one_and_not_something_else(
    chain: Journal, tmp_path: Path
) -> None:
    path = exported(chain, tmp_path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]), encoding="utf-8")
    assert {problem.what for problem in verify_export(path).problems} == {"unreadable", "removed"}


def test_an_export_whose_first_lines_are_damaged_is_still_verified(chain: Journal, tmp_path: Path) -> None:
    path = exported(chain, tmp_path)
    path.write_text("{broken\n" + path.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")
    problems = verify_export(path).problems
    assert (problems[0].seq, problems[0].what, problems[0].detail) == (1, "unreadable", "line 1 is not JSON")


def test_an_export_that_is_not_there_is_an_error_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        verify_export(tmp_path / "none.jsonl")


def test_many_problems_are_cut_off_and_said_to_be(journal: Journal) -> None:
    with journal.transaction() as tx:
        for number in range(130):
            tx.append("step.done", who="a", body={"n": number})
    tamper(journal, "UPDATE entries SET who = 'b'")
    result = journal.verify()
    assert len(result.problems) == 100
    assert not result.complete


def exported(journal: Journal, directory: Path) -> Path:
    path = directory / "journal.jsonl"
    with path.open("w", encoding="utf-8") as file:
        journal.export(file)
    return path
