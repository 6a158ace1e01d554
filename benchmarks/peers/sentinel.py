"""recoverd's own sentinel, with the policy of `inventories/lab`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.kit import SERVICE, Controller, wait_for_run
from benchmarks.peers.contestant import NEW, Contestant
from lab import Lab
from recoverd import __version__
from recoverd.inventory import Policy, load


class Sentinel(Contestant):
    """A `recoverd serve --sentinel`, new in each turn: one that has just seen a failover is in another state."""

    peer = "recoverd"
    name = "recoverd's sentinel"
    settings: Mapping[str, float] = {}
    rhythm_s = 1.0
    fences = "yes: stopped over SSH or cut off by its fence device, and proven, before anything is promoted"
    confirms = "controller, the standbys' hosts and the clients' hosts all fail to reach it, several looks in a row"

    def __init__(self) -> None:
        self._controller: Controller | None = None

    def prepare(self, lab: Lab) -> str:
        """Read what the lab's policy says."""
        self.settings = times(load(lab.inventory).policy_of(SERVICE))
        self.rhythm_s = self.settings["interval_s"]
        return __version__

    @contextmanager
    def watching(self, lab: Lab, directory: Path) -> Iterator[None]:
        """Run it beside the lab."""
        with Controller(lab, directory / "home", sentinel=True) as self._controller:
            yield
        self._controller = None

    def switch_over(self, lab: Lab) -> None:
        """Start the procedure; `finish` waits for its end."""
        self._running().command("run", "switchover", SERVICE, "--option", f"to={NEW}", "--reason", "a benchmark")

    def finish(self) -> None:
        """Its run proves, re-points and accounts after users write again; it must end well."""
        wait_for_run(self._running())

    def _running(self) -> Controller:
        assert self._controller is not None, "recoverd is not running"
        return self._controller


def times(policy: Policy) -> dict[str, float]:
    """What of a policy decides how quickly the sentinel acts."""
    watching = policy.sentinel
    return {
        "interval_s": watching.interval_s,
        "confirmations": watching.confirmations,
        "probe_timeout_s": policy.probe_timeout_s,
    }
