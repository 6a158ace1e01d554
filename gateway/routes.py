"""The route table: which alert starts which procedure on which target, and whether at once, on approval, or never.

The first route whose matchers all hold wins; an alert that none matches is only recorded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.alerts_model import Alert, Trigger
from recoverd.errors import Invalid
from recoverd.inventory import Inventory, Route
from recoverd.inventory.matchers import all_match
from recoverd.inventory.problems import nearest
from recoverd.policy import allowed_mode

Mode = Literal["act", "ask", "record"]

MODES: tuple[Mode, ...] = ("act", "ask", "record")
"""From the boldest to the strictest."""

_PLACE = re.compile(r"\{labels\.([A-Za-z_][\w.:-]*)\}", re.ASCII)


@dataclass(frozen=True)
class Decision:
    """What an alert asks for.

    Attributes:
        procedure: What to run; empty when nothing.
        target: On which service; empty when nothing.
        mode: "act", "ask", or "record" when nothing is to be started.
        reason: Why, as a sentence for the reviewer.
        route: The name of the route that matched; None when none did.
        loud: The alert asked for something that cannot be: a person should hear of it.
    """

    procedure: str
    target: str
    mode: Mode
    reason: str
    route: str | None = None
    loud: bool = False


class RouteTable:
    """The routes of an inventory, read and checked."""

    def __init__(self, inventory: Inventory, procedures: Collection[str]) -> None:
        """Check every route against the catalogue of procedures and the inventory.

        Raises:
            Invalid: With all problems at once.
        """
        problems = [text for route in inventory.routes for text in _problems_of(route, inventory, procedures)]
        counts = Counter(route.name for route in inventory.routes)
        problems += [f"route {name}: the name is given twice" for name, count in counts.items() if count > 1]
        if problems:
            raise Invalid(
                "the alert routes do not fit\n" + "\n".join(problems), "correct alerts.yaml, then start again"
            )
        self._inventory = inventory
        self._on_hosts = _taking_hosts(procedures)

    def decide(self, alert: Alert, trigger: Trigger = "alert") -> Decision:
        """Which run the alert asks for, after the service's policy has had its say."""
        for route in self._inventory.routes:
            if all_match(route.match, alert.labels):
                return self._follow(route, alert, trigger)
        return Decision("", "", "record", "no route matches")

    def _follow(self, route: Route, alert: Alert, trigger: Trigger) -> Decision:
        target, missing = fill(route.target, alert.labels)
        if missing:
            reason = f"route {route.name} takes its target from the label {missing}, which the alert does not have"
            return Decision(route.procedure, "", "record", reason, route.name, loud=True)
        if route.procedure in self._on_hosts:
            return self._follow_to_hosts(route, target, trigger)
        if target not in self._inventory.services:
            reason = f"route {route.name} leads to the service {target!r}, which is not in the inventory"
            return Decision(
                route.procedure,
                target,
                "record",
                reason + _nearest(target, self._inventory.services),
                route.name,
                loud=True,
            )
        return self._by_policy(route, target, trigger)

    def _follow_to_hosts(self, route: Route, target: str, trigger: Trigger) -> Decision:
        """Monitoring systems name a host by its address and a port as often as by its name."""
        known = self._inventory.host_at(target)
        try:
            target = known or self._inventory.selection(target).name
        except Invalid as error:
            reason = f"route {route.name} leads to {target!r}: {error.message}"
            return Decision(route.procedure, target, "record", reason, route.name, loud=True)
        return self._by_policy(route, target, trigger)

    def _by_policy(self, route: Route, target: str, trigger: Trigger) -> Decision:
        allowed = allowed_mode(self._inventory.policy_of(target), route.procedure, trigger)
        mode = stricter(route.mode, allowed)
        lowered = mode != route.mode
        by = f"the policy of {target}, stricter than route {route.name}" if lowered else f"route {route.name}"
        return Decision(route.procedure, target, mode, f"{mode} by {by}", route.name)


def _taking_hosts(procedures: Collection[str]) -> frozenset[str]:
    """The procedures that are run on hosts."""
    if not isinstance(procedures, Mapping):
        return frozenset()
    return frozenset(name for name, one in procedures.items() if one.takes == ("hosts",))


def stricter(one: Mode, other: Mode) -> Mode:
    """The stricter of two modes."""
    return max(one, other, key=MODES.index)


def fill(template: str, labels: Mapping[str, str]) -> tuple[str, str | None]:
    """A target template with the alert's labels in place, and the first label that is missing or empty, if any."""
    missing = next((name for name in _PLACE.findall(template) if not labels.get(name)), None)
    return _PLACE.sub(lambda found: labels.get(found[1], ""), template), missing


def _problems_of(route: Route, inventory: Inventory, procedures: Collection[str]) -> list[str]:
    found = []
    if route.procedure not in procedures:
        found.append(f"there is no procedure {route.procedure!r}" + _nearest(route.procedure, procedures))
    if not route.match:
        found.append("it has no matcher, and an empty selector matches nothing")
    found += _problems_of_target(route, inventory, on_hosts=route.procedure in _taking_hosts(procedures))
    return [f"route {route.name}: {text}" for text in found]


def _problems_of_target(route: Route, inventory: Inventory, *, on_hosts: bool) -> list[str]:
    """What can be known before an alert comes: a fixed target, and one that the route's own matchers fix."""
    rest = _PLACE.sub("", route.target)
    if "{" in rest or "}" in rest:
        return [f"the target {route.target!r} is no template: only {{labels.NAME}} may stand in braces"]
    target, missing = fill(route.target, {each.label: each.value for each in route.match if each.op == "="})
    if on_hosts:
        return [] if missing is not None or inventory.host_at(target) else _problems_of_selector(target, inventory)
    if missing is None and target not in inventory.services:
        return [f"there is no service {target!r}" + _nearest(target, inventory.services)]
    return []


def _problems_of_selector(target: str, inventory: Inventory) -> list[str]:
    try:
        inventory.selection(target)
    except Invalid as error:
        return [error.message]
    return []


def _nearest(name: str, names: Collection[str]) -> str:
    near = nearest(name, names)
    return f" (nearest: {near})" if near else ""
