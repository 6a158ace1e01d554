"""A procedure that does nothing: what an alert starts in the test of `serve`."""

from __future__ import annotations

from typing import Any

from prefect import flow

from deployments.catalogue import Procedure
from recoverd.journal import Journal
from recoverd.liveness import executing


@flow(name="nothing")
def nothing(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> None:
    assert run is not None
    journal = Journal.open()
    with executing(run):
        journal.set_run(run, "succeeded", who="tester", summary=f"nothing was to be done for {target}")


CATALOGUE = {"nothing": Procedure("nothing", "serve_procedures:nothing", "Do nothing", urgency=10)}
