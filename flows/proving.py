"""What must hold of restored data before anybody relies on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from recoverd.errors import Look
from recoverd.inventory import RestoreCheck
from recoverd.step import observe
from recoverd.world import world
from tasks.asking import ask_scratch
from tasks.together import together
from tasks.views import Facts

_AT_ONCE = 4
_FALSE = {"", "f", "false", "0"}
_IDENTITY = "select system_identifier from pg_control_system()"
_DATABASES = "select datname from pg_database where datallowconn order by datname"
_CATALOGUE = "select count(pg_get_userbyid(relowner)) from pg_class"  # reads all of pg_class and looks its owners up
_AMCHECK = "select 1 from pg_extension where extname = 'amcheck'"
_INDEXES = """
select count(bt_index_check(index => c.oid, heapallindexed => true)) from pg_index i
join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam
where a.amname = 'btree' and c.relpersistence <> 't' and i.indisready and i.indisvalid and c.relkind = 'i'
"""


class Identified(Protocol):
    """What says of which cluster the data should be."""

    @property
    def system_identifier(self) -> str:
        """PostgreSQL's own."""
        ...


class Question(Facts):
    """One check and its answer."""

    name: str
    holds: bool
    answer: str


class Proof(Facts):
    """All checks of a restored copy."""

    questions: tuple[Question, ...]

    @property
    def failed(self) -> tuple[Question, ...]:
        """Those that do not hold."""
        return tuple(one for one in self.questions if not one.holds)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.failed:
            return "; ".join(f"{one.name}: {one.answer}" for one in self.failed)
        return ", ".join(one.name for one in self.questions)


@observe("prove the restored data on {host}", time_limit_s=3600.0)
def prove_restored(service: str, host: str, manifest: Identified) -> Proof:
    """Ask the isolated server: is it the right cluster, can every catalogue be read, do the indexes fit, do the checks hold."""
    wanted = world().inventory.service(service)
    questions: dict[str, Callable[[], list[Question]]] = {
        "": lambda: [_ask(service, host, "the right cluster", "postgres", _IDENTITY, manifest.system_identifier)]
    }
    for database in ask_scratch(service, host, "postgres", _DATABASES).splitlines():
        questions[database] = partial(_read, service, host, database)
    for number, check in enumerate(world().inventory.restore_rules_of(service).checks):
        questions[f"{number}/{check.name}"] = partial(_asserted, service, host, check, wanted.postgresql.database)
    answers = together(questions, at_most=_AT_ONCE)
    return Proof(questions=tuple(one for found in answers.values() for one in found))


def _read(service: str, host: str, database: str) -> list[Question]:
    """Whether a database can be read, and whether its indexes fit its tables."""
    found = [_ask(service, host, f"the catalogue of {database}", database, _CATALOGUE)]
    if database != "template1" and ask_scratch(service, host, database, _AMCHECK) == "1":
        found.append(_ask(service, host, f"the indexes of {database}", database, _INDEXES))
    return found


def _asserted(service: str, host: str, check: RestoreCheck, database: str) -> list[Question]:
    return [_ask(service, host, check.name, check.database or database, check.sql, check.expect)]


def _ask(service: str, host: str, name: str, database: str, sql: str, expect: str | None = None) -> Question:
    try:
        answer = ask_scratch(service, host, database, sql)
    except Look as error:
        return Question(name=name, holds=False, answer=error.message)
    holds = answer.lower() not in _FALSE if expect is None else answer == expect
    return Question(
        name=name, holds=holds, answer=answer if holds or expect is None else f"{answer} instead of {expect}"
    )
