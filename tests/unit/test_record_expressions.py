"""What a person writes as SQL is that and nothing else, or it is refused before any server sees it."""

from __future__ import annotations

import pytest

from recoverd.errors import Invalid
from recoverd.records.expressions import parse_assignments, parse_expression, parse_query, parse_table

CONDITIONS = (
    "province <> '44'",
    "a = 1 -- and a comment",
    "name like '50%' and note is not null",
    "postcode in (select code from postcodes p where p.province = customers.province)",
    "exists (select from t where t.id = customers.id) and (a, b) = (1, 2)",
    "created_at at time zone 'Asia/Shanghai' > now() - interval '1 day'",
    "tags @> array['x'] and data->>'k' = 'v' and lower(name) ~ '^省' and x is distinct from y",
    'case when a = 1 then \'x\' else $$don\'t$$ end = "Odd ""Column"',
    "U&'\\7701' = name or E'\\'' = name",
)
NO_CONDITIONS = (
    "", " ", "*", "a = 1; drop table customers", "true) or (true", "a = 1) union select 2 from (select 1",
    "a = 1 union select 2", "a = 1 order by 1", "a = 1 limit 1", "a = 1 for update", "1 from customers", "a = 1 as b", "a, b",
    "distinct a", "a = $1", "a = 1 /*", "a = 'open", "(select 1 for update) = 1", "a in (select 1 into x)",
    "a = (with x as (delete from customers returning 1) select 1 from x)",
    "a = (with x as (insert into t values (1) returning 1) select 1 from x)",
    "a in (update t set b = 1)", "a = 1\0", "into x", "xmlelement(name a) is null", "default", "a = 1\n; commit",
)  # fmt: skip


@pytest.mark.parametrize("text", CONDITIONS)
def test_one_expression_that_reads_is_a_condition(text: str) -> None:
    assert parse_expression(text).text == text


@pytest.mark.parametrize("text", NO_CONDITIONS)
def test_anything_beside_one_expression_that_reads_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_expression(text)
    assert refused.value.hint


def test_an_expression_names_its_columns_and_functions() -> None:
    found = parse_expression("lower(a) = public.f(b) and nextval('s') = customers.c")
    assert found.columns == {"a", "b", "c"}
    assert found.functions == {"lower", "f", "nextval"}


def test_what_is_too_long_or_too_deep_is_refused() -> None:
    with pytest.raises(Invalid, match="longer than"):
        parse_expression("a in (" + "1," * 60_000 + "1)")
    with pytest.raises(Invalid):
        parse_expression("(" * 40_000 + "a" + ")" * 40_000)
    with pytest.raises(Invalid):
        parse_expression("not " * 3000 + "a")


def test_assignments_are_read_with_their_columns_as_the_server_reads_them() -> None:
    found = parse_assignments(
        "Province = '44', \"B c\" = f(x, 2), é = '省, x', d = array[1,2], e = $$a, b = 1$$ -- end"
    )
    assert [one.column for one in found] == ["province", "B c", "é", "d", "e"]
    assert [one.value.text for one in found] == ["'44'", "f(x, 2)", "'省, x'", "array[1,2]", "$$a, b = 1$$ -- end"]


@pytest.mark.parametrize(
    "text",
    [
        "", "province", "a = default", "(a, b) = (1, 2)", "a = 1, a = 2", "A = 1, a = 2", "a.b = 1", "a[1] = 2", "a = 1 where true",
        "a = 1 from x", "a = 1 returning 1", "a = 1; drop table x", "a = 1,", "a = (delete from x)", "a = 1 where false; select 1",
    ],
)  # fmt: skip
def test_assignments_that_do_more_than_give_columns_values_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_assignments(text)


def test_a_table_is_named_as_the_server_names_it() -> None:
    assert parse_table("Customers") == ("", "customers")
    assert parse_table('Sales."Order s"') == ("sales", "Order s")


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c",
        "a, b",
        "a x",
        "only a",
        "a where true",
        "f(1)",
        "a; drop table b",
        "(select 1) x",
        "a join b on true",
        "",
        "a\0",
    ],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_table(text)


def test_a_query_is_one_select_that_reads() -> None:
    assert parse_query("select a from t where b;").text == "select a from t where b"
    for text in (
        "select 1; select 2",
        "delete from t",
        "select 1 into x",
        "select a from t for update",
        "values (1); drop table t",
    ):
        with pytest.raises(Invalid):
            parse_query(text)
