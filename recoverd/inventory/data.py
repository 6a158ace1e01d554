"""Data of a service: how records are mended, and the rules by which they count as right, as data.yaml says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from recoverd.errors import Invalid
from recoverd.inventory.base import Model, SslMode
from recoverd.inventory.secret import SecretRef


class DataRule(Model):
    """What is wrong with a record: `violates` for the rows of a table, a builtin rule, or `sql` for anything else."""

    name: str = Field(pattern="^[a-z][a-z0-9_-]*$", description="the rule's name in commands and reports")
    title: str | None = Field(None, description="name for people")
    table: str | None = Field(None, description="the table, with its schema where it is not in the search path")
    violates: str | None = Field(None, description="SQL condition that is true of a row that is wrong")
    among: str = Field("true", description="SQL condition: the rows that the rule can judge at all")
    mend: str | None = Field(None, description="what makes such a row right: column = expression, …")
    builtin: Literal["province"] | None = Field(
        None, description="`province`: the recorded province against identity number or postcode (GB/T 2260)"
    )
    column: str | None = Field(None, description="of `province`: the column with the recorded two-digit code")
    id_number: str | None = Field(None, description="of `province`: the column with the resident identity number")
    postcode: str | None = Field(None, description="of `province`: the column with the postcode")
    sql: str | None = Field(None, description="one SELECT that returns the violating rows")
    total: str | None = Field(None, description="with `sql`: one SELECT that returns how many rows there are")
    least_percent: float = Field(
        100.0, ge=0, le=100, description="percent of rows that must be right; below it an incident is raised"
    )

    prepare: bool = Field(
        False, description="whether a fix by this rule is prepared then, which waits for a person's approval"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> DataRule:
        kinds = [name for name in ("violates", "builtin", "sql") if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError("a rule has one of violates, builtin and sql")
        if (self.sql is None) != (self.total is None):
            raise ValueError("sql and total are given together: without the total there is no share")
        if (self.table is None) != (self.sql is not None):
            raise ValueError("violates and builtin need a table, sql has none")
        if self.builtin and (self.column is None or (self.id_number is None and self.postcode is None)):
            raise ValueError("province needs column, and id_number or postcode or both")
        if self.mend is not None and self.violates is None:
            raise ValueError("mend goes with violates")
        if self.prepare and self.mend is None and self.builtin is None:
            raise ValueError("prepare needs a rule that says what is right: mend, or builtin")
        self._read()
        return self

    def _read(self) -> None:
        from recoverd.records.expressions import parse_assignments, parse_expression, parse_query, parse_table

        try:
            if self.table is not None:
                parse_table(self.table)
            parse_expression(self.among, "among")
            if self.violates is not None:
                parse_expression(self.violates, "violates")
            if self.mend is not None:
                parse_assignments(self.mend)
            for name, query in (("sql", self.sql), ("total", self.total)):
                if query is not None:
                    parse_query(query, name)
        except Invalid as error:
            raise ValueError(error.message) from None


class AuditTable(Model):
    """A table in which triggers of the database's own note who changed what. Keys name its columns."""

    table: str = Field(min_length=1, description="the table; recoverd_data may select from it")
    key: str = Field(min_length=1, description="column with the key of the row, as a text; several with commas")
    at: str = Field(min_length=1, description="column with the time of the change")
    of: str | None = Field(None, description="column with the table's name, where one table notes for several")
    user: str | None = Field(None, description="column with the database user")
    application: str | None = Field(None, description="column with the application's name")
    address: str | None = Field(None, description="column with the client's address")
    transaction: str | None = Field(None, description="column with the transaction's id")


class Takedown(Model):
    """How content is taken out of sight: rows stay, and say that they are hidden."""

    name: str = Field(pattern="^[a-z][a-z0-9_-]*$", description="its name in commands")
    table: str = Field(min_length=1, description="the table that holds the content")
    hide: str = Field(min_length=1, description="what hides a row: column = expression, …")
    most_rows: int = Field(1000, ge=1, description="most rows that one run may hide")
    statement: str = Field(
        "", description="draft of what is published about it; {rows} and {at} are filled in, a person publishes it"
    )

    @model_validator(mode="after")
    def _read(self) -> Takedown:
        from recoverd.records.expressions import parse_assignments, parse_table

        try:
            parse_table(self.table)
            parse_assignments(self.hide)
            self.statement.format(rows=1, at="")
        except (Invalid, KeyError, IndexError) as error:
            raise ValueError(
                error.message if isinstance(error, Invalid) else f"statement has no {error} to fill in"
            ) from None
        return self


class DataRules(Model):
    """How records of a service are mended: who does it, where, and how gently."""

    name: str = Field(min_length=1, description="the service: its key below `data` in data.yaml")
    database: str = Field(min_length=1, description="the database that the records are in")
    user: str = Field(
        "recoverd_data", min_length=1, description="the role that deployments/sql/data-role.sql makes; no superuser"
    )
    password: SecretRef | None = Field(None, description="its password; none: what pg_hba.conf lets in without one")
    sslmode: SslMode = Field("prefer", description="libpq's sslmode")
    batch_rows: int = Field(5000, ge=1, le=100_000, description="most rows in one transaction")
    pause_ms: int = Field(0, ge=0, le=60_000, description="milliseconds of rest between two transactions")
    lock_timeout_ms: int = Field(
        2000, ge=10, le=60_000, description="milliseconds that a transaction waits for rows that others hold"
    )
    statement_timeout_s: int = Field(60, ge=1, le=3600, description="longest statement of a transaction, in seconds")
    plan_timeout_s: int = Field(600, ge=1, le=86_400, description="longest statement while a plan is made, in seconds")
    most_attempts: int = Field(
        10, ge=1, le=100, description="times that a transaction is tried that others are in the way of"
    )
    max_lag_bytes: int = Field(
        64 * 1024**2, ge=0, description="bytes of WAL that standbys may lag behind before the next transaction waits"
    )
    lag_limit_s: int = Field(600, ge=1, description="seconds it waits for them, then a person must look")
    audit: AuditTable | None = Field(None, description="where `trace` finds who changed a row")
    rules: tuple[DataRule, ...] = Field((), description="when a record counts as right")
    takedowns: tuple[Takedown, ...] = Field((), description="content that can be taken out of sight, and how")

    @model_validator(mode="after")
    def _each_name_once(self) -> DataRules:
        for kind, names in {
            "rule": [rule.name for rule in self.rules],
            "takedown": [one.name for one in self.takedowns],
        }.items():
            doubled = sorted({name for name in names if names.count(name) > 1})
            if doubled:
                raise ValueError(f"{', '.join(doubled)} is the name of more than one {kind}")
        return self

    def rule(self, name: str) -> DataRule:
        """The rule of that name; Invalid where there is none."""
        for one in self.rules:
            if one.name == name:
                return one
        known = ", ".join(rule.name for rule in self.rules) or "none"
        raise Invalid(f"there is no rule {name} for the data of {self.name}", f"data.yaml defines: {known}")

    def takedown(self, name: str) -> Takedown:
        """The takedown of that name; Invalid where there is none."""
        for one in self.takedowns:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.takedowns) or "none"
        raise Invalid(f"there is no takedown {name} for the data of {self.name}", f"data.yaml defines: {known}")
