"""Hosts say what looks wrong on them. Nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from recoverd.errors import Invalid, Look, RecoverdError
from recoverd.isolation.suspicion import Baseline, Finding, baseline_of, read_lines, suspicions
from recoverd.settings import settings
from recoverd.step import observe
from recoverd.words import counted
from recoverd.world import world
from tasks.evidence import write_file
from tasks.hosts import run_on
from tasks.together import together
from tasks.views import Facts

AT_MOST = 32
LIMIT_S = 20
TIME_LIMIT_S = 900.0
ALL_PACKAGES_S = 700.0


class Diagnosed(Facts):
    """What a host said.

    Attributes:
        findings: What looks wrong, the gravest first.
        compared: Whether there was a baseline to hold it against.
        problem: Why it could not be asked.
    """

    host: str
    findings: tuple[Finding, ...] = ()
    baseline: Baseline = Baseline()
    compared: bool = False
    problem: str = ""


class Diagnoses(Facts):
    """What all of them said."""

    hosts: tuple[Diagnosed, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = []
        for one in self.hosts:
            grave = sum(found.severity == "grave" for found in one.findings)
            doubtful = sum(found.severity == "doubtful" for found in one.findings)
            words.append(f"{one.host}: {one.problem or f'{grave} grave, {doubtful} doubtful'}")
        return "; ".join(words)


@observe("look what is wrong on the hosts", time_limit_s=TIME_LIMIT_S)
def look_for_wrong(hosts: Sequence[str], packages: str) -> Diagnoses:
    """Ask all at once. One that does not answer is an answer too."""
    found = together({host: partial(_look, host, packages) for host in hosts}, at_most=AT_MOST)
    return Diagnoses(hosts=tuple(found.values()))


def _look(host: str, packages: str) -> Diagnosed:
    limit_s = ALL_PACKAGES_S if packages == "all" else LIMIT_S * 12.0
    try:
        done = run_on("masked+diagnose", host, {"PACKAGES": packages, "LIMIT_S": str(LIMIT_S)}, timeout_s=limit_s)
        said = read_lines(done.out)
        if ("through", "1") not in said:
            raise Look(f"{host} did not come to the end of it", f"log in to {host} and look")
        before = kept_baseline(host)
    except RecoverdError as error:
        return Diagnosed(host=host, problem=error.message)
    found = suspicions(host, said, before, world().inventory.zone_of(host).forbidden_processes)
    return Diagnosed(host=host, findings=found, baseline=baseline_of(said), compared=before is not None)


def baseline_path(host: str) -> Path:
    """Where the baseline of a host is kept."""
    return settings().home / "baselines" / f"{host}.json"


def kept_baseline(host: str) -> Baseline | None:
    """How a host was when somebody said that it is well. Raises Invalid when the file is none."""
    try:
        return Baseline.model_validate_json(baseline_path(host).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise Invalid(
            f"the baseline {baseline_path(host)} cannot be read: {error}", "make it anew: --option baseline=save"
        ) from error


def keep_baselines(found: Diagnoses) -> str:
    """Keep how hosts are now. Not a step: nothing of the hosts is changed."""
    kept = [one for one in found.hosts if not one.problem]
    for one in kept:
        write_file(baseline_path(one.host), one.baseline.model_dump_json(indent=2))
    return f"the baseline of {counted(len(kept), 'host')} is kept"
