"""The procedure in docs/adding-a-procedure.md, on real servers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from failover_kit import SERVICE, Controller

from deployments.catalogue import PROCEDURES, Procedure
from lab import Lab
from lab.sql import ask, connected, inside
from recoverd.execution import rehearsal
from recoverd.inventory import load

pytestmark = [pytest.mark.lab, pytest.mark.postgres]
GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-procedure.md"


@pytest.fixture
def slowlog(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("flows.slowlog")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    exec(compile(source, str(GUIDE), "exec"), module.__dict__)  # noqa: S102 - our own document
    known = Procedure("slowlog", "flows.slowlog:slowlog", "Log slow statements", urgency=20, options=("ms",))
    monkeypatch.setitem(PROCEDURES, "slowlog", known)  # type: ignore[arg-type]
    return module


def setting(lab: Lab) -> str:
    with connected(inside(lab.host("db-1"))) as connection:
        return str(ask(connection, "show log_min_duration_statement")[0][0])


def test_the_procedure_in_the_guide_plans_acts_once_and_is_undone(
    slowlog: ModuleType, recoverd: Controller, lab: Lab
) -> None:
    with rehearsal("slowlog", SERVICE, load(recoverd.inventory)) as plan:
        slowlog.carry_out(SERVICE)
    assert [step.title for step in plan.planned if step.changes] == ["log statements from 250 ms on of db-1"]
    assert setting(lab) == "-1"
    run = recoverd.run("slowlog", ms=400)
    assert run.state == "succeeded", run.summary
    assert setting(lab) == "400ms"
    assert recoverd.done(recoverd.run("slowlog", ms=400)) == []  # it is so already
    undone = recoverd.run("undo", run=run.id)
    assert undone.state == "succeeded", undone.summary
    assert setting(lab) == "-1"
