"""Writers that never rest, and a checker that reads the whole history of every row: who overwrote what."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from records_kit import Data

FIX = "recoverd fix"
# An entry's number is drawn while the row is locked: of one row, the order of numbers is that of commits.
HISTORY = """
create table customers (id int primary key, province text, seen int not null default 0);
create table history (n bigserial primary key, id int, op text, old text, new text, app text, xid xid8);
create function note() returns trigger language plpgsql security definer as $$ begin
    insert into history (id, op, old, new, app, xid) values (coalesce(new.id, old.id), tg_op, old.province, new.province,
        current_setting('application_name'), pg_current_xact_id());
    return null;
end $$;
create trigger note after insert or update or delete on customers for each row execute function note();
"""


@dataclass(frozen=True)
class Entry:
    id: int
    op: str
    old: str | None
    new: str | None
    app: str

    @property
    def by_fix(self) -> bool:
        return self.app == FIX


@contextmanager
def writers(data: Data, rows: int, number: int = 6) -> Iterator[list[int]]:
    """So many sessions that change, delete and insert rows of the table without end; how many commits each has made."""
    over, commits, faults = threading.Event(), [0] * number, list[BaseException]()

    def write(place: int) -> None:
        dice = random.Random(place)  # noqa: S311 - no secret
        connection = psycopg2.connect(data.url, application_name=f"writer {place}")
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                while not over.is_set():
                    key, kind = dice.randrange(rows), dice.random()
                    if kind < 0.1:
                        cursor.execute("delete from customers where id = %s", (key,))
                    elif kind < 0.3:  # a column that the fix does not touch
                        cursor.execute("update customers set seen = seen + 1 where id = %s", (key,))
                    else:
                        value = f"{place}-{commits[place]}"
                        cursor.execute("update customers set province = %s where id = %s", (value, key))
                    commits[place] += 1
        except BaseException as error:  # noqa: BLE001 - it is looked at when all have ended
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield commits
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert not faults, faults


def history(data: Data) -> dict[int, list[Entry]]:
    """What happened to each row, in order."""
    found: dict[int, list[Entry]] = {}
    for one in data.sql(
        "select id, op, old, new, app from history where op <> 'UPDATE' or old is distinct from new order by n"
    ):
        found.setdefault(one[0], []).append(Entry(*one))
    return found


def check(data: Data, old: str, new: str) -> int:
    """Nothing newer was overwritten, nothing deleted came back, no change is missing; how many rows the fix changed."""
    changed, now = 0, dict(data.sql("select id, province from customers"))
    for key, entries in history(data).items():
        value: str | None = None
        for entry in entries:
            assert entry.op == "INSERT" or entry.old == value, f"row {key}: {entry} does not follow {value}"
            assert not (entry.by_fix and entry.op != "UPDATE"), f"row {key}: the fix did {entry.op}"
            assert not entry.by_fix or (entry.old, entry.new) == (old, new), f"row {key}: the fix overwrote {entry.old}"
            value = entry.new
        mine = sum(entry.by_fix for entry in entries)
        assert mine <= 1, f"row {key} was changed {mine} times"
        changed += mine
        assert now.get(key) == value, f"row {key} is {now.get(key)}, and its history ends with {value}"
    return changed
