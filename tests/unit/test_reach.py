"""What a vantage point's answer is worth."""

from __future__ import annotations

from typing import Any, cast

import paramiko
import pytest

from recoverd.connections import Reach, Ssh, reach_through
from tasks import proof


class Host:
    """An sshd that refuses to open a connection for us."""

    alive = True

    def __init__(self, code: int) -> None:
        self.code = code

    def transport(self) -> Host:
        return self

    def open_channel(self, *_: Any, **__: Any) -> Any:
        raise paramiko.ChannelException(self.code, "no")


@pytest.mark.parametrize(
    ("code", "found"), [(1, Reach.UNKNOWN), (2, Reach.REFUSED), (3, Reach.UNKNOWN), (4, Reach.UNKNOWN)]
)
def test_only_a_failed_connection_says_something_of_the_server(code: int, found: Reach) -> None:
    assert reach_through(cast("Ssh", Host(code)), "10.0.0.11", 5432, timeout_s=1.0) is found


def test_a_proof_passes_over_the_servers_that_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without clients in the inventory it is made from the controller, and libpq would wait for the first one."""

    class Here:
        class policy:  # noqa: N801
            probe_timeout_s = 1.0

    def look(address: str, _port: int, *, timeout_s: float) -> Reach:
        return Reach.LOST if address == "10.0.0.11" else Reach.ANSWERS

    monkeypatch.setattr(proof, "world", Here)
    targets = (("10.0.0.11", 5432), ("10.0.0.12", 5432))
    assert proof._heard(look, targets) == (("10.0.0.12", 5432),)
