"""Failover and switchover where Patroni manages the cluster: Patroni moves the primary, recoverd does what is around it.

    observe → (approval) → let Patroni act, or ask it to → see what keeps the old one from writing
            → lead users to the new one → prove → account

recoverd never promotes a server here. Patroni's own fence is its leader lock: a leader that cannot renew it makes
itself read-only before it runs out. That holds as long as Patroni runs there; where it hangs or was killed, only a
watchdog helps, and Patroni's API does not say whether there is one. So what is known of the old primary is recorded,
and one that is seen to write on is fenced by recoverd.
"""

from __future__ import annotations

from flows.candidates import Candidate, choose
from flows.ending import check_end, prove_entry_points
from flows.fence import fence_primary
from flows.patroni_users import account_for, end_at, lead_users, note
from flows.possible_loss import asks_for_loss, loss_of
from flows.verdict import Diagnosis, Verdict
from recoverd.errors import Refused, Stale, Unproven, Unsafe
from recoverd.gate import gate
from recoverd.step import decide
from recoverd.world import world
from tasks.epochs import note_epochs
from tasks.observation import observe_service
from tasks.patroni import ask_for_failover, ask_for_switchover, await_leader, observe_patroni, waiting_time_s
from tasks.patroni_views import Leader, PatroniView
from tasks.traffic import lead_users_to
from tasks.views import Answer, Facts, ServiceView


def fail_over_by_patroni(service: str, diagnosis: Diagnosis) -> str:
    """Fail over with Patroni: wait for the failover that it is about to do itself, or ask it for one.

    Args:
        service: The service.
        diagnosis: What is the matter; its verdict calls for a failover.

    Returns:
        The run in one sentence.

    Raises:
        Refused: Patroni is paused and the policy lets nobody decide, or Patroni says no.
        Unsafe: Patroni answers nowhere, or has nobody to promote.
        Unproven: No leader accepts writes in the end.
    """
    seen = observe_patroni(service)
    old = diagnosis.primary
    if seen.paused:
        _heed_pause(service, old, seen)
    elif world().run.mode == "ask":
        question = f"let Patroni fail {service} over from {old}, and lead users to its new leader: {diagnosis.summary}"
        gate("failover", _plan("failover", service, old), question)
        _refuse_if_writing(service, old)
    note_epochs(service)
    now = _another_leader(service, diagnosis, seen)
    if now.host == old:
        return _stayed(service, now)
    return account_for(service, diagnosis, now.host, seen)


def switch_over_by_patroni(service: str, to: str) -> str:
    """Switch over with Patroni, then lead users to the new leader. Nothing is moved before Patroni has done its part.

    Args:
        service: The service.
        to: The host whose server shall lead; chosen, and where that is needed approved, already.

    Returns:
        The run in one sentence.

    Raises:
        Refused: Patroni says no, or it is paused and the policy lets nobody decide.
    """
    seen = observe_patroni(service)
    old = settle_handover(service, to, seen).old
    if seen.leader != to and not seen.may_lead(to):
        raise Refused(f"Patroni would not let {to} follow {old}: {seen.summary}", "mend that, or choose another")
    if seen.paused:
        question = f"let Patroni switch {service} over from {old} to {to}"
        _ask_despite_pause(service, _plan("switchover", service, old, to), question)
    outcome = ask_for_switchover(service, old, to)
    if world().dry_run:
        lead_users(service, old, to, seen)
        return f"would have Patroni switch {service} over from {old} to {to}"
    new = str(outcome["host"])
    proofs = lead_users(service, old, new, seen)
    ending = end_at(service, new, seen)
    ways = ", ".join(proof.entry for proof in proofs) or "none"
    return note(f"Patroni switched {service} over from {old} to {new}; writes proven through: {ways}; {ending.summary}")


class Handover(Facts):
    """Who hands over to whom; kept, for after it Patroni no longer says who led before."""

    old: str
    new: str

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.old} hands over to {self.new}"


@decide("settle who hands over to {to}")
def settle_handover(service: str, to: str, seen: PatroniView) -> Handover:
    """The leader of now hands over.

    Raises:
        Refused: There is none, or it is the one that shall lead.
    """
    if seen.leader in {"", to}:
        raise Refused(f"{seen.leader or 'nobody'} leads {service}, says Patroni", "see `patronictl list`")
    return Handover(old=seen.leader, new=to)


def follow_patroni(service: str, diagnosis: Diagnosis, view: ServiceView) -> str | None:
    """Where Patroni has failed over before anybody asked: lead users to its leader, if they are not led there yet.

    Args:
        service: The service.
        diagnosis: It calls for no failover: there is a primary.
        view: What was seen.

    Returns:
        The run in one sentence; None when there is nothing to do.
    """
    wanted = world().inventory.service(service)
    addresses = {entry.address for entry in wanted.entry_points if entry.kind == "virtual-address"}
    if len(view.primaries) != 1 or addresses <= set(view.host(view.primaries[0]).addresses):
        return None
    new = view.primaries[0]
    holders = [host.host for host in view.hosts if host.host != new and host.addresses]
    unheard = [host.host for host in view.hosts if host.host != new and host.answer is not Answer.YES]
    seen = observe_patroni(service)
    if seen.leader != new:
        return None
    for old in (holders + unheard)[:1]:
        return account_for(service, diagnosis.model_copy(update={"primary": old}), new, seen)
    lead_users_to(wanted, new)
    prove_entry_points(service, new)
    return note(f"users of {service} are led to {new}, which Patroni has made its leader")


def _plan(procedure: str, service: str, old: str, to: str = "") -> dict[str, object]:
    entries = [entry.name for entry in world().inventory.service(service).entry_points]
    return {"procedure": procedure, "service": service, "by": "patroni", "from": old, "to": to, "entry points": entries}


def _another_leader(service: str, diagnosis: Diagnosis, seen: PatroniView) -> Leader:
    """The leader that there is in the end; the old one, where Patroni has brought it back."""
    here, old = world(), diagnosis.primary
    moved = seen.leader not in {"", old}
    moving = not seen.paused and (diagnosis.verdict is Verdict.DEAD or not seen.leader)
    if here.dry_run:
        return _foresee(service, diagnosis, seen)
    if moved or moving:
        # Patroni is at it: its lock runs out, or has. Asking for the same now would only tie its hands.
        now = await_leader(service, old, waiting_time_s(seen))
        if now.writes:
            return now
        if now.host and now.host != old:
            raise Unproven(
                f"Patroni says that {now.host} leads {service}, but it takes no writes: {now.problem}",
                f"look at the logs of Patroni and PostgreSQL on {now.host}",
            )
    seen = observe_patroni(service)
    candidate = _candidate(service, diagnosis, seen)
    _agree_to_loss(service, old, candidate, seen)
    outcome = ask_for_failover(service, old, candidate.host)
    return Leader.model_validate(dict(outcome.effect.data))


def _foresee(service: str, diagnosis: Diagnosis, seen: PatroniView) -> Leader:
    """A dry run does not wait: it says what it would wait for, and goes on with the member that is likely to lead."""
    here, old = world(), diagnosis.primary
    to = seen.leader if seen.leader not in {"", old} else _candidate(service, diagnosis, seen).host
    if diagnosis.verdict is Verdict.DEAD and not seen.paused:
        limit_s = waiting_time_s(seen)
        here.foresee("observe", "await_leader", f"wait up to {limit_s:g} s for Patroni's failover", f"{to} may lead")
    else:
        ask_for_failover(service, old, to)
    return Leader(host=to, writes=True)


def _candidate(service: str, diagnosis: Diagnosis, seen: PatroniView) -> Candidate:
    """The best standby by our own rules that Patroni would let lead; of synchronous members one, where there are any."""
    here = world()
    wanted = here.inventory.service(service)
    choice = choose("to name to Patroni", observe_service(service), wanted, here.policy, diagnosis.primary)
    able = [candidate for candidate in choice.order if seen.may_lead(candidate.host)]
    if not able:
        raise Unsafe(
            f"{service} has no member that Patroni would let lead: {seen.summary}; {'; '.join(choice.passed_over)}",
            "bring a member back (`patronictl list`, `patronictl reinit`)",
        )
    return next((candidate for candidate in able if candidate.host in seen.synchronous), able[0])


def _agree_to_loss(service: str, old: str, candidate: Candidate, seen: PatroniView) -> None:
    """Asked by name, Patroni also promotes a member that is not synchronous: then a person decides, as in any failover."""
    only_on, to = candidate.only_on, candidate.host
    if seen.synchronous_mode:
        only_on = () if to in seen.synchronous else seen.synchronous or ("the synchronous standby of before",)
    if asks_for_loss(service, to, only_on):
        plan = _plan("failover", service, old, to) | {"may lose what only these hold": list(only_on)}
        gate(f"promote {to}", plan, f"have Patroni make {to} lead {service}: {loss_of(only_on)}")
        _refuse_if_writing(service, old)


def _heed_pause(service: str, old: str, seen: PatroniView) -> None:
    """A paused Patroni neither fails over nor stops a leader that lost its lock: then it takes a person, and our fence."""
    if seen.leader not in {"", old}:
        return  # it has another leader already: only users have to be led there
    question = f"Patroni is paused, so it does nothing for {service} by itself. Fence {old} and have Patroni fail over"
    _ask_despite_pause(service, _plan("failover", service, old), question)
    _refuse_if_writing(service, old)
    fence_primary(service, old, observe_service(service))


def _ask_despite_pause(service: str, plan: dict[str, object], question: str) -> None:
    if world().policy.unfenced_promotion == "never":
        raise Refused(
            f"Patroni is paused, and so leaves {service} alone: somebody works on it",
            f"end its maintenance mode (`patronictl resume`), or set unfenced_promotion to ask for {service}",
        )
    gate("act although Patroni is paused", plan, f"{question}? Somebody has paused it: ask who, and why")


def _refuse_if_writing(service: str, old: str) -> None:
    """An approval may come an hour later: a primary that takes writes again is left alone."""
    view = observe_service(service)
    if view.primaries == (old,) and view.server(old).writes is Answer.YES:
        raise Stale(f"{old} takes writes again", "nothing was touched; start it again if users still suffer")


def _stayed(service: str, now: Leader) -> str:
    """Patroni has started the old primary again: there is nothing to move, but users' writes are proven."""
    prove_entry_points(service, now.host)
    check_end(service, now.host, ())
    return note(f"Patroni brought {now.host} back as leader of {service} after {now.seconds:.1f} s; nothing was moved")
