"""Fixes from a file of corrections, and from a rule that knows provinces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from records_kit import Data, data_here
from throw_away_postgres import PgServer

from recoverd.records.provinces import CHECK_DIGITS, WEIGHTS, provinces

pytestmark = pytest.mark.postgres

CUSTOMERS = """
create table customers (id int primary key, province char(2), note varchar(5), price numeric(8,2), id_number text, postcode text);
insert into customers select n, '11', null, n from generate_series(1, 50) n
"""


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(CUSTOMERS)
        made.grant("customers")
        yield made


def written(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    file = path / "corrections.csv"
    file.write_bytes("\r\n".join(("id,column,old,new", *lines, "")).encode(encoding))
    return str(file)


def test_corrections_of_a_file_are_applied_cell_by_cell(data: Data, tmp_path: Path) -> None:
    file = written(tmp_path, "1,province,11,44", '1,note,\\N,"a,""b"', "02,note,\\N,", "3,price,3.00,7.5")
    run = data.run(table="customers", from_csv=file, expect_rows=3)
    assert run.state == "succeeded", run.summary
    found = data.sql("select id, province, note, price::text from customers where id < 5 order by id")
    assert found == [(1, "44", 'a,"b', "1.00"), (2, "11", "", "2.00"), (3, "11", None, "7.50"), (4, "11", None, "4.00")]
    assert data.run(undo=run.id).state == "succeeded"
    assert data.value("select count(*) from customers where province = '11' and note is null and price = id") == 50


def test_a_formula_is_a_text_and_is_warned_of(data: Data, tmp_path: Path) -> None:
    file = written(tmp_path, "1,note,\\N,=A1")
    found = data.plan(table="customers", from_csv=file)
    assert [step.finding for step in found.steps if step.kind == "warning"] == [
        "formulas of a spreadsheet, as it seems, taken as texts: 1"
    ]
    assert data.run(table="customers", from_csv=file).state == "succeeded"
    assert data.value("select note from customers where id = 1") == "=A1"


def test_a_file_in_another_encoding_is_read_as_what_it_is(data: Data, tmp_path: Path) -> None:
    file = written(tmp_path, "1,note,\\N,广东省", encoding="gb18030")
    refused = data.run(table="customers", from_csv=file)
    assert refused.state == "refused"
    assert "not utf-8" in refused.summary
    assert data.run(table="customers", from_csv=file, encoding="gb18030").state == "succeeded"
    assert data.value("select note from customers where id = 1") == "广东省"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1,province,12,44"], "lines 2 say another value of province"),
        (["99,province,11,44"], "lines 2 find no row"),
        (["1,province,11,44", "01,province,11,31"], "lines 3 say something of a cell that an earlier line"),
        (["1,province,11,444"], "value too long"),
        (["1,price,1.00,many"], "invalid input syntax"),
        (["one,price,1.00,2"], "invalid input syntax"),
        (["1,id,1,2"], "primary key"),
        (["1,provinz,11,44"], "no column provinz"),
        (["1,note,\\N,abcdef"], "value too long"),
        (["1,province,11"], "line 2"),
        ([], "no line but the first"),
    ],
)
def test_a_line_that_cannot_be_meant_refuses_the_file(data: Data, tmp_path: Path, lines: list[str], says: str) -> None:
    run = data.run(table="customers", from_csv=written(tmp_path, *lines))
    assert run.state == "refused"
    assert says in run.summary, run.summary
    assert data.value("select count(*) from customers where province = '11' and price = id") == 50


def test_a_file_of_many_lines_goes_through_in_stretches(data: Data, tmp_path: Path) -> None:
    data.sql("insert into customers (id, province) select n, '11' from generate_series(51, 30000) n")
    file = written(tmp_path, *(f"{number},province,11,44" for number in range(1, 30_001)))
    run = data.run(table="customers", from_csv=file, expect_rows=30_000)
    assert run.state == "succeeded", run.summary
    assert data.value("select count(*) from customers where province = '44'") == 30_000


def number_of(province: str, wrong: bool = False) -> str:
    """An identity number, by a working of the check digit that is not the product's."""
    body = f"{province}010119900307{'123'}"[:17]
    place = sum(weight * int(digit) for weight, digit in zip(WEIGHTS, body, strict=True)) % 11
    return body + CHECK_DIGITS[(place + wrong) % 11]


def test_the_rule_finds_provinces_that_number_or_postcode_contradict_and_mends_them(data: Data) -> None:
    data.configure(
        "rules: [{name: province, builtin: province, table: customers, column: province, id_number: id_number, postcode: postcode}]"
    )
    rows = [
        (1, "11", "11010519491231002X", None, "11"),  # right, by the number of GB 11643 itself
        (2, "12", "11010519491231002X", "510000", "11"),  # the number goes before the postcode
        (3, "11", number_of("44"), None, "44"),
        (4, "11", number_of("44", wrong=True), None, "11"),  # a mistyped number says nothing
        (5, "11", number_of("99"), None, "11"),  # nor does a province that there is not
        (6, "11", None, "510630", "44"),
        (7, "11", number_of("44", wrong=True), "200001", "31"),
        (8, None, None, "999999", None),
        (9, None, "440301", "51063", None),
        (10, None, number_of("65").replace("X", "x"), None, "65"),
        (11, "11", f"{number_of('44')[:6]}18900307{number_of('44')[14:]}", None, "11"),  # nobody is that old
    ]
    data.sql("truncate customers", *(
        "insert into customers (id, province, id_number, postcode) values "
        + str(tuple("NULL" if one is None else one for one in row[:4])).replace("'NULL'", "null")
        for row in rows
    ))  # fmt: skip
    run = data.run(rule="province")
    assert run.state == "succeeded", run.summary
    assert dict(data.sql("select id, province from customers")) == {row[0]: row[4] for row in rows}


def test_every_province_is_told_from_its_number_and_its_postcodes(data: Data) -> None:
    data.configure(
        "rules: [{name: province, builtin: province, table: customers, column: province, id_number: id_number, postcode: postcode}]"
    )
    data.sql("truncate customers")
    expected, number = {}, 0
    for one in provinces():
        for column, value in [
            ("id_number", number_of(one.code)),
            *(("postcode", f"{two}0001") for two in one.postcodes),
        ]:
            number += 1
            expected[number] = one.code
            data.sql(f"insert into customers (id, province, {column}) values ({number}, '00', '{value}')")
    assert data.run(rule="province", expect_rows=number).state == "succeeded"
    assert dict(data.sql("select id, province from customers")) == expected
