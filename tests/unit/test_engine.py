"""Each service's backups are made by the engine that the inventory names, and all engines answer in the same words."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from shutil import copytree

import pytest

from flows.builtin import BuiltIn, as_holdings
from flows.engine import engine_of
from flows.pgbackrest import PgBackRestEngine, refuse_what_is_not_there
from recoverd.backup.compare import Finding, Health, SetHealth
from recoverd.backup.manifest import Manifest, Part
from recoverd.errors import Invalid, Refused
from recoverd.execution import rehearsal
from recoverd.inventory import load
from tasks.sets import SiteView, Survey

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example"
AT = datetime(2026, 11, 26, 4, tzinfo=timezone.utc)


def test_the_inventory_names_the_engine(tmp_path: Path) -> None:
    copy = Path(copytree(EXAMPLE, tmp_path / "inventory"))
    with rehearsal("sites", "shop", load(copy)):
        assert isinstance(engine_of("shop"), BuiltIn)
        with pytest.raises(Invalid, match="no backup of ledger"):
            engine_of("ledger")
    (copy / "backups.yaml").write_text(
        "backups: {shop: {engine: pgbackrest, stanza: shop, sites: "
        "[{name: own, repo: 1, host: shop-db-1}, {name: west, repo: 2, host: backup-west}]}}"
    )
    with rehearsal("sites", "shop", load(copy)):
        assert isinstance(engine_of("shop"), PgBackRestEngine)


def test_the_built_in_engine_answers_in_the_words_of_all() -> None:
    name = "20261126T035420Z-8fej"
    part = Part(name="part-000001.age", size=7, sha256="0" * 64, md5="0" * 32)
    manifest = Manifest(service="shop", set=name, source="db-2", begun_at=AT, ended_at=AT, parts=(part,))
    finding = Finding(key=part.name, health=Health.DAMAGED, evidence=f"{part.name} has other bytes")
    seen = Survey(
        service="shop", manifests=(manifest,),
        sites=(
            SiteView(site="own", reached=True, sets=(SetHealth(site="own", set=name, health=Health.GOOD),)),
            SiteView(
                site="west", reached=True,
                sets=(SetHealth(site="west", set=name, health=Health.DAMAGED, findings=(finding,)),),
            ),
            SiteView(site="offsite", reached=False, problem="it does not answer"),
        ),
    )  # fmt: skip
    found = as_holdings(seen)
    assert [one.consistent_at for one in found.site("own").whole] == [AT]
    assert found.site("west").whole == ()
    assert found.wrong == (
        "offsite: it does not answer",
        f"west: {name} is damaged (part-000001.age has other bytes)",
    )
    assert found.summary == "own: 1 sets; west: 1 sets, 1 of them not whole; offsite: it does not answer"


@pytest.mark.parametrize("options", [{"into": "replace"}, {"table": "orders"}, {"timeline": "2"}])
def test_what_an_engine_does_not_have_is_refused_with_what_to_do_instead(options: dict[str, object]) -> None:
    with pytest.raises(Refused, match="stands beside what is there") as refused:
        refuse_what_is_not_there(options)
    assert "pgbackrest restore" in refused.value.hint


def test_an_option_that_asks_for_what_is_done_anyway_is_none_to_refuse() -> None:
    refuse_what_is_not_there({"into": "beside", "to": "latest", "set": "", "site": "own", "host": "west"})
