"""A CSV file of corrections is read as it was meant, or refused with the line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from recoverd.errors import Invalid
from recoverd.records.corrections import Correction, Corrections


def read(path: Path, content: str | bytes, key: tuple[str, ...] = ("id",), encoding: str = "utf-8") -> list[Correction]:
    file = path / "corrections.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Corrections(file, key, encoding))


def test_cells_come_through_without_loss(tmp_path: Path) -> None:
    text = '﻿id,column,old,new\r\n7,name,"a, ""b""","two\nlines"\r\n8,note,\\N,\r\n9,note,,\\N\r\n'
    found = read(tmp_path, text)
    assert [(one.key, one.column, one.old, one.new) for one in found] == [
        (("7",), "name", 'a, "b"', "two\nlines"),
        (("8",), "note", None, ""),
        (("9",), "note", "", None),
    ]
    assert [one.line for one in found] == [3, 4, 5]


def test_keys_of_several_columns_and_other_encodings_are_read(tmp_path: Path) -> None:
    text = "shop,number,column,old,new\n1,2,省份,广东,广西\n"
    found = read(tmp_path, text.encode("gb18030"), ("shop", "number"), "gb18030")
    assert found == [Correction(2, ("1", "2"), "省份", "广东", "广西")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line"),
        (b"id,old,new\n1,a,b\n", "first line"),
        ("id,column,old,new\n1,省份,广东,广西\n".encode("gb18030"), "not utf-8"),
        (b"id,column,old,new\n1,a,b\n", "line 2"),
        (b"id,column,old,new\n1,a,b,c,d\n", "line 2"),
        (b'id,column,old,new\n1,a,"b"x,c\n', "no CSV"),
        (b'id,column,old,new\n1,a,"b,c\n', "no CSV"),
        (b"id,column,old,new\n1,a,\0,c\n", "zero character"),
        (b"id,column,old,new\n\\N,a,b,c\n", "no key"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        read(tmp_path, content)
    assert refused.value.hint


def test_what_looks_like_a_formula_is_data_and_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    file.write_text('id,column,old,new\n1,a,x,"=HYPERLINK(""http://x"")"\n2,a,x,-5\n')
    corrections = Corrections(file, ("id",))
    assert [one.new for one in corrections] == ['=HYPERLINK("http://x")', "-5"]
    assert corrections.formulas == 1
    assert len(corrections.sha256) == 64


def test_a_large_file_is_read_in_constant_memory(tmp_path: Path) -> None:
    file = tmp_path / "corrections.csv"
    with file.open("w") as out:
        out.write("id,column,old,new\n")
        out.writelines(f"{number},province,44,45\n" for number in range(200_000))
    tracemalloc.start()
    assert sum(1 for _ in Corrections(file, ("id",))) == 200_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
