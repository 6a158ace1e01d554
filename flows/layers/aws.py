"""The layer AWS: an instance is kept, led out of what leads users to it, cut off, and loses its role.

    snapshots → load balancers → auto scaling → (drain) → security groups → network ACL → protection → role → metadata

Snapshots come at the end where the zone says `evidence: after`. One step that fails does not keep the others from
being tried; the host counts as faulty all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256

from flows.layers.doing import Calls, Done, take_back
from recoverd.errors import Refused
from recoverd.step import observe
from recoverd.world import world
from tasks import aws_acl, aws_profile
from tasks.aws_acl import cut_subnets, others_in_subnets
from tasks.aws_balancers import last_of, leave_balancers, observe_draining
from tasks.aws_cloud import AT_MOST, settings_of, zone_of
from tasks.aws_groups import make_groups
from tasks.aws_instances import Instance, Instances, instances_of
from tasks.aws_interfaces import contain_interfaces
from tasks.aws_profile import deny_sessions, sharers, take_profile
from tasks.aws_protect import keep_snapshots, protect_instance, silence_metadata
from tasks.aws_scaling import stand_aside
from tasks.aws_state import AwsState, look_at_isolation
from tasks.together import together
from tasks.views import Facts


class Reasons(Facts):
    """Why hosts should not be isolated in AWS as the inventory says, a sentence each."""

    why: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return "; ".join(self.why) or "nothing speaks against it"


def apply(hosts: Sequence[str], *, stop_after: int | None = None) -> Done:
    """Isolate hosts; so many faults in one step, and no further host is begun in it.

    Raises:
        Refused: Before the first change: no instance is found, or others would be cut off too.
    """
    found = instances_of(tuple(hosts))
    done, every = Done(faults=dict(found.lost), stop_after=stop_after), found.known
    if not every:
        raise next(iter(found.lost.values()))
    refuse(found)
    _snapshots(done, every, after=False)
    balanced = [one for one in every if settings_of(one.host).target_groups != "none"]
    done.do(leave_balancers, _for(balanced), at_most=AT_MOST)
    done.do(stand_aside, _for(one for one in every if settings_of(one.host).auto_scaling == "standby"), at_most=AT_MOST)
    if any(outcome.changed for one in balanced for outcome in done.outcomes[one.host]) and not world().dry_run:
        observe_draining(_about(hosts), Instances(found=tuple(balanced)))
    _cut(done, every)
    done.do(
        protect_instance, _for(one for one in every if settings_of(one.host).protect and not one.spot), at_most=AT_MOST
    )
    _disown(done, every)
    _snapshots(done, every, after=True)
    return done


def verify(hosts: Sequence[str]) -> AwsState:
    """What of the isolation holds at this moment, asked of AWS anew."""
    return look_at_isolation(_about(hosts), instances_of(tuple(hosts)))


def release(hosts: Sequence[str], run: str) -> Done:
    """Put back what a run found, just as it was; a host of which somebody has changed something since is not touched."""
    return take_back(hosts, run, "tasks.aws_", at_most=AT_MOST)


def refuse(found: Instances) -> None:
    """Refuse before the first change what would hit others, unless a person with the right forces it."""
    reasons = observe_reasons(_about(one.host for one in found.found), found)
    if reasons.why and not world().run.options.get("force"):
        hint = "change the zone's aws block in isolation.yaml, or have a person with the right use --force"
        raise Refused("; ".join(reasons.why), hint)


@observe("look for what else an isolation in AWS would hit", time_limit_s=300.0)
def observe_reasons(about: str, found: Instances) -> Reasons:
    """Who shares a subnet or a role with a host, and where nobody else serves."""
    ids = tuple(one.id for one in found.known)
    why = together({one.host: partial(_reasons, one, ids) for one in found.known}, at_most=AT_MOST)
    return Reasons(why=tuple(line for some in why.values() for line in some))


def _reasons(one: Instance, besides: tuple[str, ...]) -> list[str]:
    settings, why = settings_of(one.host), []
    if settings.network_acl == "certain" and (others := others_in_subnets(one.host, one.id, besides)):
        why.append(aws_acl.shared(one.host, others).message)
    if settings.instance_profile == "revoke" and one.profile and (others := sharers(one.host, one.id, one.profile)):
        why.append(aws_profile.shared(one.host, others).message)
    if settings.target_groups != "none" and (alone := last_of(one.host, one.id)):
        why.append(f"{one.host} is the last healthy target of {', '.join(alone)}")
    return why


def _cut(done: Done, every: Sequence[Instance]) -> None:
    """The groups once in each VPC and for each set of rules; then interfaces, all hosts at once; then subnets."""
    places: dict[tuple[object, ...], list[Instance]] = {}
    for one in every:
        for vpc in sorted({interface.vpc for interface in one.interfaces}):
            places.setdefault((settings_of(one.host), tuple(zone_of(one.host).management), vpc), []).append(one)
    calls = {f"{some[0].host} {place[-1]}": (some[0].host, str(place[-1])) for place, some in places.items()}
    behind = {f"{some[0].host} {place[-1]}": [one.host for one in some] for place, some in places.items()}
    done.do(make_groups, calls, at_most=AT_MOST, hosts=lambda key: behind[key])
    done.do(contain_interfaces, _for(every), at_most=AT_MOST)
    certain = [one for one in every if settings_of(one.host).network_acl == "certain"]
    ids = tuple(one.id for one in every)
    # One after the other: hosts may share a subnet, and who comes second finds it cut.
    done.do(cut_subnets, {one.host: (one.host, one.id, ids) for one in certain}, at_most=1)


def _disown(done: Done, every: Sequence[Instance]) -> None:
    """The metadata service last: until then it hands out what the denial of older sessions has made worthless."""
    have = [one for one in every if one.profile and settings_of(one.host).instance_profile != "keep"]
    done.do(take_profile, {one.host: (one.host, one.id, one.profile) for one in have}, at_most=AT_MOST)
    denied = [one for one in have if settings_of(one.host).instance_profile.startswith("revoke")]
    done.do(deny_sessions, {one.host: (one.host, one.id, one.profile) for one in denied}, at_most=AT_MOST)
    done.do(silence_metadata, _for(one for one in every if settings_of(one.host).metadata == "off"), at_most=AT_MOST)


def _snapshots(done: Done, every: Sequence[Instance], *, after: bool) -> None:
    wanted = [one for one in every if settings_of(one.host).snapshots and zone_of(one.host).evidence != "none"]
    done.do(
        keep_snapshots, _for(one for one in wanted if (zone_of(one.host).evidence == "after") is after), at_most=AT_MOST
    )


def _for(some: Iterable[Instance]) -> Calls:
    return {one.host: (one.host, one.id) for one in some}


def _about(hosts: Iterable[str]) -> str:
    """A short name for a set of hosts, which tells the looks of a run apart."""
    return sha256(",".join(hosts).encode()).hexdigest()[:12]
