"""What `serve` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from intake_kit import inventory, source

from gateway.home import held
from gateway.listener import listening
from gateway.serve import check_sources
from recoverd.errors import Busy, Invalid
from recoverd.inventory import AlertSource, Inventory


def with_sources(*sources: AlertSource) -> Inventory:
    return inventory().model_copy(update={"sources": {each.name: each for each in sources}})


def test_sources_that_cannot_work_are_all_named_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOKEN", "secret")
    check_sources(with_sources(source()))
    missing = {"kind": "basic", "users": {"am": {"env": "ABSENT"}}}
    strange = source(name="b").model_copy(update={"kind": "pigeon"})
    with pytest.raises(Invalid) as caught:
        check_sources(with_sources(source(name="a", auth=missing), strange, source(name="sentinel")))
    lines = caught.value.message.splitlines()[1:]
    assert [line.split(": ")[0] for line in lines] == ["source a", "source b", "source sentinel"]
    assert "ABSENT" in lines[0]
    assert "'pigeon'" in lines[1]


def test_a_home_directory_belongs_to_one(tmp_path: Path):
    with held(tmp_path / "home"), pytest.raises(Busy, match="another recoverd serve"), held(tmp_path / "home"):
        pass
    with held(tmp_path / "home"):
        pass


def test_a_taken_port_is_an_error_with_a_hint():
    with listening("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(Invalid, match="RECOVERD_LISTEN_PORT"):
            listening("127.0.0.1", port)


def test_an_address_that_is_no_address_is_an_error():
    with pytest.raises(Invalid, match="nothing can listen"):
        listening("not an address", 0)
