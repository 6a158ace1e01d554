"""The procedures that can be run, by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from recoverd.errors import Invalid
from recoverd.inventory import Selection

if TYPE_CHECKING:
    from prefect import Flow

    from recoverd.inventory import FilesBackup, Inventory, Service


@dataclass(frozen=True)
class Procedure:
    """A procedure that a person would recognise from an emergency plan.

    Attributes:
        name: What commands, routes and the journal call it.
        entrypoint: Where its flow lives, `module:function`, loaded on demand.
        summary: One line for lists.
        urgency: Higher starts first when several wait; above `policy.USERS_CAN_WAIT` users are without the service until it
            ends, and it may take the target from a run that only waits.
        takes: What kinds of things it is run on: a `service`, a backup of `files`, or `hosts`.
        options: What a person may set with `--option`.
        check: A function that sees whether options can be meant so, `module:function`; none where the flow alone looks.
    """

    name: str
    entrypoint: str
    summary: str
    urgency: int
    takes: tuple[str, ...] = ("service",)
    options: tuple[str, ...] = ()
    check: str = ""

    def flow(self) -> Flow[..., Any]:
        """The flow itself, imported now.

        Raises:
            Invalid: The module or the function is not there.
        """
        module, _, function = self.entrypoint.partition(":")
        try:
            return cast("Flow[..., Any]", getattr(importlib.import_module(module), function))
        except (ImportError, AttributeError) as error:
            raise Invalid(
                f"the flow of procedure '{self.name}' cannot be loaded from {self.entrypoint}: {error}",
                "the installation is incomplete: install recoverd again",
            ) from error

    def check_options(self, given: Mapping[str, Any] | Iterable[str]) -> None:
        """A misspelt option must not be ignored: the procedure would do something else than was asked for.

        Raises:
            Invalid: It has no such option (the hint names the nearest), or a value cannot be meant so.
        """
        for name in given:
            if name not in self.options:
                near = difflib.get_close_matches(name, self.options, n=1)
                has = f"it has: {', '.join(self.options)}" if self.options else "it has none"
                raise Invalid(f"{self.name} has no option {name}", f"did you mean {near[0]}?" if near else has)
        if self.check and isinstance(given, Mapping):
            module, _, function = self.check.partition(":")
            getattr(importlib.import_module(module), function)(given)

    def check_target(self, inventory: Inventory, name: str) -> Service | FilesBackup | Selection:
        """What the name means in the inventory.

        Raises:
            Invalid: It is nothing there, or not a thing that this procedure is run on.
        """
        if self.takes == ("hosts",):
            return inventory.selection(name)
        found = inventory.anything(name)
        if isinstance(found, Selection):
            if "hosts" in self.takes:
                return found
            raise Invalid(
                f"{self.name} is not run on hosts, such as {name}", f"it is run on: {', '.join(inventory.services)}"
            )
        if ("service" if name in inventory.services else "files") not in self.takes:
            known = ", ".join(inventory.services if "service" in self.takes else inventory.files)
            raise Invalid(f"{self.name} is not run on a backup of files, such as {name}", f"it is run on: {known}")
        return found

    @property
    def deployment(self) -> str:
        """Name of its Prefect deployment."""
        return f"recoverd-{self.name}"


PROCEDURES: Mapping[str, Procedure] = {
    procedure.name: procedure
    for procedure in (
        Procedure(
            "failover", "flows.failover:failover", "Fail a service over to its best standby", urgency=90,
            options=("override_cooldown", "instance", "starts_at"),
        ),
        Procedure(
            "switchover", "flows.switchover:switchover", "Move the primary to a standby, as planned", urgency=50,
            options=("to",),
        ),
        Procedure(
            "rejoin", "flows.rejoin:rejoin", "Bring a former primary back as a standby", urgency=30,
            options=("host", "power_on", "without_decoding"),
        ),
        Procedure(
            "backup", "flows.backup:backup", "Take a base backup, or files of hosts, to all sites", urgency=20,
            options=("host",), takes=("service", "files"),
        ),
        Procedure(
            "heal", "flows.heal:heal", "Make a backup's sites whole again from verified bytes", urgency=15,
            options=("site",), takes=("service", "files"),
        ),
        Procedure(
            "restore", "flows.restore:restore", "Restore a service's data to a moment, beside what is there or in its place",
            urgency=70, options=("to", "site", "into", "set", "host", "timeline", "table", "as", "path", "of"),
            takes=("service", "files"),
            check="recoverd.backup.target:check_options",
        ),
        Procedure(
            "drill-restore", "flows.drill:drill_restore", "Rehearse a restore on the drill host, and measure it", urgency=10,
            options=("site", "set", "to"), check="recoverd.backup.target:check_options",
        ),
        Procedure(
            "contain", "flows.contain:contain", "Lock accounts out of hosts, and block addresses on them", urgency=80,
            options=("accounts", "addresses", "for", "force"), takes=("hosts",),
            check="recoverd.isolation.containment:check_options",
        ),
        Procedure(
            "diagnose", "flows.diagnose:diagnose", "Look for what is wrong on hosts, and say which procedure comes next",
            urgency=75, options=("packages", "evidence", "baseline"), takes=("hosts",),
            check="recoverd.isolation.suspicion:check_options",
        ),
        Procedure(
            "isolate", "flows.isolate:isolate", "Cut hosts off the network, in layers, and prove it from their peers",
            urgency=85, options=("evidence", "stop-after", "force"), takes=("hosts",),
            check="recoverd.isolation.wishes:check_options",
        ),
        Procedure(
            "release", "flows.release:release", "Let isolated hosts back, once they are clean or a person answers for them",
            urgency=45, takes=("hosts",),
        ),
        Procedure(
            "disinfect", "flows.disinfect:disinfect", "Scan hosts with ClamAV, and put infected files into quarantine",
            urgency=40, options=("paths", "database", "limit"), takes=("hosts",),
        ),
        Procedure(
            "fix-record", "flows.fix_record:fix_record", "Mend data records as an approved plan says", urgency=25,
            options=(
                "plan", "table", "set", "where", "expect_rows", "from_csv", "encoding", "rule", "undo", "strict", "batch_rows",
            ),
            check="recoverd.records.wish:check_options",
        ),
        Procedure(
            "takedown", "flows.takedown:takedown", "Take content out of sight, so that it can come back", urgency=40,
            options=("rule", "where", "expect_rows"), check="recoverd.records.wish:check_takedown",
        ),
        Procedure(
            "backfill", "flows.backfill:backfill", "Load records that were kept by hand", urgency=20,
            options=("table", "from_csv", "encoding", "key"), check="recoverd.records.backfill:check_options",
        ),
        Procedure(
            "trace", "flows.trace:trace", "Find who changed a record, and when", urgency=25, options=("table", "key"),
            check="recoverd.records.origin:check_options",
        ),
        Procedure(
            "check-data", "flows.check_data:check_data", "Hold data records against the rules of the inventory", urgency=10,
            options=("rule",),
        ),
        Procedure(
            "undo", "flows.undo:undo", "Take the steps of an earlier run back", urgency=60,
            options=("run",), takes=("service", "files", "hosts"),
        ),
    )
}  # fmt: skip

DEFAULT = "deployments.catalogue:PROCEDURES"


def procedure(name: str, catalogue: Mapping[str, Procedure] = PROCEDURES) -> Procedure:
    """The procedure of that name.

    Raises:
        Invalid: There is none; the hint names the nearest.
    """
    if name in catalogue:
        return catalogue[name]
    near = difflib.get_close_matches(name, catalogue, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "procedures are: " + ", ".join(sorted(catalogue))
    raise Invalid(f"there is no procedure '{name}'", hint)


def load_catalogue(address: str = DEFAULT) -> Mapping[str, Procedure]:
    """The catalogue at `module:name`; processes pass the address on, not the object."""
    module, _, name = address.partition(":")
    return cast("Mapping[str, Procedure]", getattr(importlib.import_module(module), name))
