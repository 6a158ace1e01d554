"""Many processes, threads and forks keep one chain; a killed one loses nothing that was committed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from sqlalchemy import text

from recoverd.journal import Journal
from recoverd.journal.schema import HEAD, KNOWN, current

WORKERS = Path(__file__).with_name("journal_workers.py")
ROOT = WORKERS.parents[2]


def worker(address: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(WORKERS), address, *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def finish(process: subprocess.Popen[str], *, kill: bool = False) -> int:
    if kill:
        process.kill()
    process.communicate(timeout=60)
    return process.returncode


def test_eight_processes_open_at_once_and_keep_one_chain(journal_address: str) -> None:
    """None of them finds tables: the first migrates, the others wait for it."""
    processes = [worker(journal_address, "append", f"w{n}", "50") for n in range(8)]
    assert [finish(process) for process in processes] == [0] * 8
    journal = Journal.open(journal_address)
    result = journal.verify()
    assert result.ok
    assert result.count == 400
    assert Counter(entry.run for entry in journal.entries()) == {f"w{n}": 50 for n in range(8)}
    for n in range(8):
        assert [entry.body["number"] for entry in journal.entries(run=f"w{n}")] == list(range(50))
    journal.close()


def test_a_process_killed_in_mid_transaction_leaves_what_was_committed_and_nothing_else(journal_address: str) -> None:
    process = worker(journal_address, "hang", "victim")
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    finish(process, kill=True)
    journal = Journal.open(journal_address)
    assert [entry.kind for entry in journal.entries()] == ["step.intended"]
    assert journal.list_runs() == []
    assert journal.append("step.done", who="next").seq == 2
    assert journal.verify().ok
    journal.close()


def test_every_entry_that_was_reported_as_written_is_there_after_kill_9(journal_address: str) -> None:
    process = worker(journal_address, "stream", "victim")
    assert process.stdout is not None
    for expected in range(1, 21):
        assert process.stdout.readline() == f"{expected}\n"
    process.kill()
    reported = 20 + len(process.communicate(timeout=60)[0].split())
    journal = Journal.open(journal_address)
    result = journal.verify()
    assert result.ok
    assert result.count in (reported, reported + 1)  # the last may be committed, its report not yet printed
    journal.close()


def test_threads_share_one_journal(journal: Journal) -> None:
    def work(name: str) -> None:
        for number in range(20):
            journal.append("step.done", who=name, run=name, body={"number": number})
            assert journal.outcome(name, "none") is None

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert journal.verify().count == 120
    assert journal.verify().ok


def test_a_fork_writes_to_the_same_chain_while_threads_of_its_parent_do(journal: Journal) -> None:
    journal.append("step.done", who="parent")
    marker, stop = journal.marker(), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            journal.append("step.done", who="thread")

    thread = threading.Thread(target=busy)
    thread.start()
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(5):
                    journal.append("step.done", who=f"child{number}")
                status = 0 if journal.changed_since(marker) else 2
            finally:
                os._exit(status)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    stop.set()
    thread.join(30)
    assert codes == [0, 0, 0]
    journal.append("step.done", who="parent")
    assert journal.verify().ok
    written = Counter(entry.who for entry in journal.entries())
    assert [written[f"child{n}"] for n in range(3)] == [5, 5, 5]


def test_a_parent_that_closes_after_a_fork_takes_nothing_from_its_child(tmp_path: Path) -> None:
    """The last one to close a SQLite file removes its log: the child must count as one who has it open."""
    address = f"sqlite:///{tmp_path}/journal.db"
    journal = Journal.open(address)
    journal.append("step.done", who="parent")
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            journal.append("step.done", who="child")
            os.write(from_child, b"1")
            os.read(to_child, 1)
            journal.append("step.done", who="child")
            status = 0
        finally:
            os._exit(status)
    os.read(to_parent, 1)
    journal.append("step.done", who="parent")
    journal.close()
    os.write(from_parent, b"1")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (to_child, from_parent, to_parent, from_child):
        os.close(end)
    again = Journal.open(address)
    assert [entry.who for entry in again.entries()] == ["parent", "child", "parent", "child"]
    assert again.verify().ok


def test_a_process_that_opened_the_journal_twice_loses_nothing_when_another_one_closes_it(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/home/journal.db"
    journal = Journal.open(address)
    journal.append("step.done", who="before")
    Journal.open(address)  # as the body of a run does, whose process has a journal open already
    code = f"from recoverd.journal import Journal; Journal.open({address!r}).append('step.done', who='other')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=True)
    journal.append("step.done", who="after")
    assert [entry.who for entry in Journal.open(address).entries()] == ["before", "other", "after"]
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=True)
    assert [entry.who for entry in Journal.open(address).entries()] == ["before", "other", "after", "other"]


def test_opening_again_migrates_nothing_and_needs_no_alembic(journal: Journal, journal_address: str) -> None:
    assert current(journal.database) == HEAD == KNOWN[-1]
    code = (
        "import sys; from recoverd.journal import Journal; "
        f"Journal.open({journal_address!r}).append('step.done', who='x'); "
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False).returncode == 0
    assert journal.anchor().seq == 1


def test_the_tables_that_migrations_make_are_those_that_the_code_uses(journal: Journal) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from recoverd.journal.tables import metadata

    with journal.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_migration_is_the_one_that_opening_looks_for() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import recoverd.journal

    config = Config()
    config.set_main_option("script_location", str(Path(recoverd.journal.__file__).with_name("migrations")))
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(revisions)) == KNOWN
    assert revisions[0] == HEAD


def test_files_of_the_journal_are_their_owners_alone(tmp_path: Path) -> None:
    Journal.open(f"sqlite:///{tmp_path}/home/journal.db").append("step.done", who="x")
    home = tmp_path / "home"
    assert home.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in home.iterdir()} == {0o600}


def test_sqlite_waits_for_the_disk_at_every_commit(tmp_path: Path) -> None:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    with journal.database.engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
