"""What a person writes as SQL: a condition, an assignment, a table, a query. Read by PostgreSQL's own grammar, and proven to be just
that, before any server sees it. Pure.

The grammar is libpg_query (by pglast): a guard that reads SQL otherwise than the server does can be talked past it. What the parse
tree holds is compared with a list of what is allowed, so that what nobody thought of is refused. Volatile functions
can only be known by the server: it is asked for them, and the preview runs in a read-only transaction besides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast.parser import ParseError, parse_sql_json, scan

from recoverd.errors import Invalid

MOST_CHARS = 100_000
MOST_DEPTH = 200

_VALUES = {
    "A_ArrayExpr", "A_Const", "A_Expr", "A_Indices", "A_Indirection", "BoolExpr", "BooleanTest", "CaseExpr", "CaseWhen",
    "CoalesceExpr", "CollateClause", "ColumnRef", "Float", "FuncCall", "Integer", "JsonIsPredicate", "List", "MinMaxExpr",
    "NullTest", "ResTarget", "RowExpr", "SQLValueFunction", "String", "SubLink", "TypeCast", "TypeName",
    "A_Star",
}  # fmt: skip
_QUERIES = {
    "Alias", "CommonTableExpr", "JoinExpr", "RangeFunction", "RangeSubselect", "RangeVar", "SelectStmt", "SortBy", "WindowDef",
}  # fmt: skip
ALLOWED = frozenset(_VALUES | _QUERIES)
"""Kinds of nodes that read, and nothing else."""

_WRITES = ("intoClause", "lockingClause")


@dataclass(frozen=True)
class Expression:
    """An expression that only reads.

    Attributes:
        text: As it was written, without what surrounds it.
        columns: Columns that it names without a table, or with any.
        functions: Functions that it calls, the last part of their names.
    """

    text: str
    columns: frozenset[str]
    functions: frozenset[str]


@dataclass(frozen=True)
class Assignment:
    """`column = expression`."""

    column: str
    value: Expression


@dataclass(frozen=True)
class Query:
    """One SELECT that only reads."""

    text: str
    functions: frozenset[str]


def parse_expression(text: str, what: str = "the condition") -> Expression:
    """An expression over a row, as it may stand after WHERE, or behind `column =`.

    Args:
        text: What a person wrote.
        what: What it is called in errors.

    Raises:
        Invalid: It is none, or it does more than read.
    """
    words = _sane(text, what)
    statement = _only_statement(f"select {words}\n", what)
    targets = statement.get("targetList", [])
    bare = {name for name in statement if name not in {"limitOption", "op"}} == {"targetList"}
    if not bare or len(targets) != 1 or set(targets[0]["ResTarget"]) - {"val", "location"}:
        raise Invalid(f"{what} is more than one expression: {_short(words)}", "write one, as it stands after WHERE")
    tree = targets[0]["ResTarget"]["val"]
    if any("A_Star" in field for field in tree.get("ColumnRef", {}).get("fields", ())):
        raise Invalid(f"{what} is no expression: {_short(words)}", "name the columns")
    _check(tree, what)
    return Expression(words, frozenset(_columns(tree)), frozenset(_functions(tree)))


def parse_assignments(text: str) -> tuple[Assignment, ...]:
    """`a = 1, b = lower(b)`: each column once, each value an expression over the row as it was.

    Raises:
        Invalid: It is not of that form.
    """
    words = _sane(text, "what is to be set")
    found = []
    for piece in _split(words):
        statement = _only_statement(f"update t set {piece}\n", "what is to be set", kind="UpdateStmt")  # noqa: S608  # read only
        targets = statement.get("targetList", [])
        if set(statement) - {"relation", "targetList"} or len(targets) != 1:
            raise Invalid(f"{_short(piece)} is no assignment", "write: column = value, column = value")
        target = targets[0]["ResTarget"]
        if "indirection" in target or set(target["val"]) & {"MultiAssignRef", "SetToDefault"}:
            raise Invalid(f"{_short(piece)} does not give one whole column a value", "write: column = value")
        found.append(
            Assignment(str(target["name"]), parse_expression(_right_side(piece), f"the value of {target['name']}"))
        )
    names = [one.column for one in found]
    if len(set(names)) < len(names):
        raise Invalid(f"{_short(words)} sets a column twice", "give each column one value")
    return tuple(found)


def parse_table(text: str) -> tuple[str, str]:
    """Schema (empty where none is given) and name of a table, as the server will read them: `Orders` is orders, `"Orders"` is not.

    Raises:
        Invalid: It is no name of a table.
    """
    words = _sane(text, "the table")
    statement = _only_statement(f"select from {words}\n", "the table")
    tables = statement.get("fromClause", [])
    named = tables[0].get("RangeVar", {}) if len(tables) == 1 else {}
    plain = set(named) <= {"schemaname", "relname", "inh", "relpersistence", "location"} and named.get("inh")
    if set(statement) - {"fromClause", "limitOption", "op"} or not named or not plain:
        raise Invalid(f"{_short(words)} is no name of a table", "give one table: schema.table")
    return str(named.get("schemaname", "")), str(named["relname"])


def parse_query(text: str, what: str = "the query") -> Query:
    """One SELECT.

    Raises:
        Invalid: It is none, or does more than read.
    """
    words = _sane(text, what).rstrip("; \n\t")
    statement = _only_statement(words + "\n", what)
    _check({"SelectStmt": statement}, what)
    return Query(words, frozenset(_functions(statement)))


def _sane(text: str, what: str) -> str:
    words = text.strip()
    if not words or "\0" in words:
        raise Invalid(f"{what} is empty, or holds a zero character", "write it as SQL")
    if len(words) > MOST_CHARS:
        raise Invalid(
            f"{what} is longer than {MOST_CHARS} characters", "put the values into a CSV file: --from-csv FILE"
        )
    return words


def _only_statement(sql: str, what: str, kind: str = "SelectStmt") -> dict[str, Any]:
    try:
        statements = json.loads(parse_sql_json(sql))["stmts"]
    except (ParseError, RecursionError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise Invalid(f"{what} is not SQL: {reason}", "write it as it stands in a statement for psql") from None
    if len(statements) != 1 or kind not in statements[0]["stmt"]:
        raise Invalid(f"{what} is more than one thing, or another one than is asked for", "write that alone")
    found: dict[str, Any] = statements[0]["stmt"][kind]
    return found


def _check(tree: Any, what: str) -> None:
    for name, node in _nodes(tree, 0):
        if name not in ALLOWED:
            raise Invalid(
                f"{what} does more than read, or reads in a way that is not allowed: {name}", "write it plainly"
            )
        if name in {"SelectStmt", "RangeSubselect"} and any(key in node for key in _WRITES):
            raise Invalid(f"{what} writes or locks, and may only read", "leave INTO and FOR UPDATE out")


def _nodes(tree: Any, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with its kind. A node is a mapping whose one key begins with a capital letter; fields begin with a small one."""
    if depth > MOST_DEPTH:
        raise Invalid("an expression is nested too deep", "write it plainly")
    if isinstance(tree, list):
        for item in tree:
            yield from _nodes(item, depth + 1)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key[:1].isupper():
                yield key, value
            yield from _nodes(value, depth + 1)


def _columns(tree: Any) -> Iterator[str]:
    for name, node in _nodes(tree, 0):
        if name == "ColumnRef" and "String" in node["fields"][-1]:
            yield str(node["fields"][-1]["String"]["sval"])


def _functions(tree: Any) -> Iterator[str]:
    for name, node in _nodes(tree, 0):
        if name == "FuncCall":
            yield str(node["funcname"][-1]["String"]["sval"])


def _split(text: str) -> list[str]:
    """At the commas that stand in no brackets, as the server's own scanner finds them."""
    data, depth, start, pieces = text.encode(), 0, 0, []
    for sign, begin in _tokens(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            pieces.append(data[start:begin].decode().strip())
            start = begin + 1
    return [*pieces, data[start:].decode().strip()]


def _right_side(assignment: str) -> str:
    begin = next(begin for sign, begin in _tokens(assignment) if sign == "=")
    return assignment.encode()[begin + 1 :].decode()


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """Signs of one character, and where they begin, in bytes. A sign within a text, a name or a comment is none."""
    data = text.encode()
    try:
        tokens = scan(text)
    except ParseError as error:
        raise Invalid(
            f"{_short(text)} is not SQL: {error.args[0]}", "see that quotes and brackets are closed"
        ) from None
    at = _offsets(text)
    for token in tokens:
        if token.name.startswith("ASCII_"):
            begin = at[token.start]
            yield data[begin : begin + 1].decode(), begin


def _offsets(text: str) -> list[int]:
    """Where in bytes each character begins: the scanner counts characters."""
    found, place = [], 0
    for character in text:
        found.append(place)
        place += len(character.encode())
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
