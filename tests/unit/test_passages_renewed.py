"""A way to a site is worth a day: who goes on for longer, or took a run over, opens it anew."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tasks import passages


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    clock = SimpleNamespace(now=1000.0)

    def open_passage(service: str, host: str, site: str) -> None:
        made.append(site)
        passages._opened["R1", service, host, site] = clock.now  # as the act itself does

    monkeypatch.setattr(passages, "_opened", {})
    monkeypatch.setattr(passages, "passage_name", lambda service: "R1")
    monkeypatch.setattr(passages, "needs_passage", lambda service, host, site: site != "bucket")
    monkeypatch.setattr(passages, "open_passage", SimpleNamespace(function=open_passage))
    monkeypatch.setattr(passages.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(passages, "clock", clock, raising=False)
    return made


def test_it_is_opened_by_whoever_took_the_run_over_and_again_after_hours(opened: list[str]) -> None:
    clock = passages.clock  # type: ignore[attr-defined]
    for hours in (0, 1, 5, 7, 8, 14):
        clock.now = 1000.0 + hours * 3600
        passages.renew_passage("orders-db", "db-1", "second")
        passages.renew_passage("orders-db", "db-1", "bucket")
    assert opened == ["second", "second", "second"]
