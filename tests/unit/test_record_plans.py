"""The hash of a plan is of all that was approved; a fix goes gently where others wait."""

from __future__ import annotations

import json

import pytest

from recoverd.errors import Tampered
from recoverd.gate import plan_hash
from recoverd.records.plan import Manifest, digest_of, read_manifest
from tasks.records_batches import Batch
from tasks.records_pacing import Pace

PLAN = Manifest(
    name="fix_1", service="shop", system="7", database="shop", schema_name="public", table="customers", key=("id",),
    columns=("province",), types={"id": "integer", "province": "character(2)"}, rows=12_000, matched=12_500, digest="d",
    batch_rows=5000, source={"set": "province = '44'", "where": "省 = 'x'"}, warnings=("trigger t: before update",), by="sre",
)  # fmt: skip


def test_what_is_kept_reads_back_as_what_was_approved() -> None:
    assert read_manifest(PLAN.text, PLAN.hash) == PLAN
    assert plan_hash(json.loads(PLAN.text)) == PLAN.hash == plan_hash(PLAN.model_dump(mode="json"))


@pytest.mark.parametrize("field", sorted(Manifest.model_fields))
def test_every_field_of_a_plan_is_in_its_hash(field: str) -> None:
    said = json.loads(PLAN.text)
    said[field] = {"source": {}, "types": {}, "key": ["x"], "columns": ["x"], "warnings": []}.get(field, 1)
    said[field] = str(said[field]) if isinstance(PLAN.__getattribute__(field), str) else said[field]
    with pytest.raises(Tampered):
        read_manifest(json.dumps(said), PLAN.hash)


def test_a_plan_is_told_in_a_sentence() -> None:
    assert PLAN.summary == (
        "mend province of 12000 rows of public.customers in shop of shop; 500 rows have the right values already; "
        "3 transactions, about 1 s"
    )


def test_the_order_of_rows_is_in_the_digest() -> None:
    assert digest_of(["a", "b"]) != digest_of(["b", "a"])
    assert digest_of(["a", "b"]) != digest_of(["ab"])


def batch(waiting: int) -> Batch:
    return Batch(applied=1, conflicts=0, waiting=waiting, seconds=0.5)


def test_while_others_wait_transactions_get_smaller_and_grow_again_afterwards() -> None:
    pace = Pace(5000, 0)
    sizes = []
    for waiting in (1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0):
        pace.heed(batch(waiting))
        sizes.append(pace.rows)
    assert sizes[:7] == [2500, 1250, 625, 312, 156, 100, 100]
    assert sizes == sorted(sizes[:7], reverse=True) + sorted(sizes[7:])
    assert sizes[-1] == 5000


def test_a_small_most_is_never_exceeded() -> None:
    pace = Pace(7, 0)
    for waiting in (1, 1, 0, 0, 0):
        pace.heed(batch(waiting))
        assert 1 <= pace.rows <= 7
