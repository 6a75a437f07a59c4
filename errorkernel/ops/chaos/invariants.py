"""Invariants of a chaos run, as pure functions of the evidence: each returns its violations as sentences.

The numbers are those of ``docs/chaos.md``.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from errorkernel.domain.incident_state import TRANSITIONS, State
from errorkernel.ops.chaos.evidence import Audit, Evidence, texts
from errorkernel.ops.chaos.ledger import Entry
from errorkernel.ops.chaos.requeue_checks import UNDER_WAY, handed_over_once
from errorkernel.ops.chaos.rule_checks import not_its_own, rules_keep_within_bounds
from errorkernel.ops.chaos.work import INTENSITY, PERIOD_S

Check = Callable[[Evidence], list[str]]
CLOCK_TOLERANCE = timedelta(milliseconds=50)
BEFORE_A_WIPE_S = 45.0
"""Events older than this are stored, even if faults delay the node's sending and the kernel's storing."""
_OWN_WORDS = ("reported", "fails", "went_on")


def single_winner(evidence: Evidence) -> list[str]:
    """1. At most one decision per incident; every operator receives the same winner."""
    broken = list(evidence.unexpected)
    for incident, history in evidence.history.items():
        decisions = {decision for _, decision in history if decision}
        if len(decisions) > 1:
            broken.append(f"{incident} had {len(decisions)} decisions in succession")
    for reply in evidence.decision_replies:
        known = evidence.incidents.get(reply.incident)
        decision = known.decision if known else None
        stands = (decision.by, decision.action) if decision else ("", "")
        if (reply.by, reply.action) != stands or (reply.decision and decision and reply.decision != decision.id):
            broken.append(
                f"{reply.operator} received: {reply.by or 'nobody'} decided {reply.action or 'nothing'} for"
                f" {reply.incident}; recorded is {stands[0] or 'nobody'}, {stands[1] or 'nothing'}"
            )
        if reply.decision and (reply.by, reply.action) != (reply.operator, reply.sent):
            broken.append(
                f"{reply.operator} sent {reply.sent} for {reply.incident} and received 200 for {reply.action}"
            )
    return broken


def applied_once(evidence: Evidence) -> list[str]:
    """2. Applied at most once; the applied action is the recorded one."""
    broken = []
    opened = {entry["text"]: UUID(entry["incident"]) for _, entry in evidence.opened()}
    for node, entries in evidence.ledgers.items():
        new = Counter(entry["incident"] for entry in entries if entry.what == "took" and entry["result"] == "new")
        broken += [f"{node} took {incident} over {n} times" for incident, n in new.items() if n > 1]
        went_on = Counter(entry["text"] for entry in entries if entry.what == "went_on")
        broken += [f"{node} went on {n} times after {opened.get(text)}" for text, n in went_on.items() if n > 1]
        for text in went_on:
            known = evidence.incidents.get(opened[text]) if text in opened else None
            if known and (known.decision is None or known.decision.action != "continue"):
                decided = known.decision.action if known.decision else "nothing"
                broken.append(f"{node} went on after {known.id}, for which the decision is {decided}")
    for journaled in evidence.journaled_incidents.values():
        known = evidence.incidents.get(journaled.id)
        if known is None or journaled.outcome != "applied":
            continue
        recorded = (known.decision.id, known.decision.action) if known.decision else (None, "")
        if (journaled.decision, journaled.action) != recorded:
            broken.append(f"{journaled.node} applied {journaled.action} to {journaled.id}; recorded is {recorded[1]}")
    return broken


def no_incident_is_lost(evidence: Evidence) -> list[str]:
    """3. Every journalled incident is in the database after healing."""
    journalled = {journaled.id: journaled.node for journaled in evidence.journaled_incidents.values()}
    journalled |= {UUID(entry["incident"]): node for node, entry in evidence.opened()}
    return [
        f"{incident} of {node} is not in the database"
        for incident, node in journalled.items()
        if incident not in evidence.incidents
    ]


def healed_in_time(evidence: Evidence) -> list[str]:
    """4 and 5. Two sync periods after contact: no process is blocked despite a decision; node and kernel agree."""
    return [f"{complaint}, for too long" for complaint in evidence.overdue]


def applied_is_true(evidence: Evidence) -> list[str]:
    """6. *Applied* is shown only after the node reported it."""
    broken = [f"{incident} was shown as applied before it was" for incident in evidence.shown_early]
    for journaled in evidence.journaled_incidents.values():
        known = evidence.incidents.get(journaled.id)
        if known and known.state is State.APPLIED and journaled.outcome != "applied":
            broken.append(f"{journaled.id} is shown as applied; on {journaled.node} it is {journaled.state}")
    return broken


def right_incarnation(evidence: Evidence) -> list[str]:
    """7. A decision never touches another incarnation; an ended incarnation does nothing more."""
    broken = []
    for node, entries in evidence.ledgers.items():
        opened: dict[str, Entry] = {}
        living: dict[str, int] = {}
        for entry in entries:
            process = entry["process"]
            if entry.what == "opened":
                opened[entry["incident"]] = entry
            elif entry.what == "took" and entry["result"] == "new" and entry["incident"] in opened:
                journaled = opened[entry["incident"]]
                now = living.get(journaled["process"], journaled["incarnation"])
                if now != journaled["incarnation"]:
                    broken.append(
                        f"{node} took {entry['incident']} over for {journaled['process']} {now};"
                        f" it is for incarnation {journaled['incarnation']}"
                    )
            elif process and entry["incarnation"] < living.get(process, 0):
                broken.append(
                    f"{process} {entry['incarnation']} on {node} {entry.what} after the start of its successor"
                )
            if entry.what == "born":
                living[process] = max(living.get(process, 0), entry["incarnation"])
    return broken


def outcomes_stand(evidence: Evidence) -> list[str]:
    """8. The shown state of an incident follows the transition table, through restarts and wipes."""
    broken = []
    for incident, history in evidence.history.items():
        for (before, _), (after, _) in pairwise(history):
            if after not in _reachable(before):
                broken.append(f"{incident} went from {before.value} to {after.value}")
    broken += [
        f"the decision for {incident.id} was never published"
        for incident in evidence.incidents.values()
        if incident.decision and not incident.decision.sent
    ]
    if evidence.outbox:
        broken.append(f"{evidence.outbox} rows are left in the outbox")
    return broken


def restarts_are_bounded(evidence: Evidence) -> list[str]:
    """9. The restarts of a process in any period are limited, whatever causes them."""
    broken = []
    for node, entries in evidence.ledgers.items():
        for process, times in _restarts(entries):
            if any(last - first < PERIOD_S for first, last in zip(times, times[INTENSITY:], strict=False)):
                broken.append(f"{process} on {node} was restarted over {INTENSITY} times within {PERIOD_S:g} s")
    return broken


def every_change_is_audited(evidence: Evidence) -> list[str]:
    """10. Every state change has exactly one audit row."""
    broken = []
    rows: dict[UUID, list[Audit]] = {}
    for row in evidence.audit:
        rows.setdefault(row.incident, []).append(row)
    for incident in evidence.incidents.values():
        state = State.OPEN.value
        for row in rows.get(incident.id, []):
            if row.before != state:
                broken.append(f"{incident.id} was {state}; its next audit row is {row.before} → {row.after}")
            state = row.after
        if state != incident.state.value:
            broken.append(f"{incident.id} is {incident.state.value}; its audit rows end with {state}")
    return broken + _unaudited_messages(evidence)


def _unaudited_messages(evidence: Evidence) -> list[str]:
    """An incident has at most one message under way, so its audit rows form a chain for each requeue."""
    broken = []
    state: dict[UUID, str] = {}
    begun: Counter[UUID] = Counter()
    for row in evidence.audit_of_messages:
        before = state.get(row.incident, "")
        if row.before != before:
            broken.append(f"the message of {row.incident} was {before}; its next row is {row.before} → {row.after}")
        begun[row.incident] += row.before not in UNDER_WAY
        state[row.incident] = row.after
    commands = Counter(command.incident for command in evidence.commands.values())
    if commands != begun:
        broken.append(f"{commands.total()} messages were requeued or dropped; the audit trail has {begun.total()}")
    broken += [
        f"{command.id} is {command.state}; its audit rows end with {state.get(command.incident)}"
        for command in evidence.commands.values()
        if commands[command.incident] == 1 and state.get(command.incident) != command.state
    ]
    return broken


def nobody_by_itself(evidence: Evidence) -> list[str]:
    """11. Each decision comes from an operator, a configured rule or the deadline of the incident."""
    broken = []
    opened = {UUID(entry["incident"]): entry for _, entry in evidence.opened()}
    for incident in evidence.incidents.values():
        decision = incident.decision
        if decision is None:
            continue
        if decision.by == "deadline":
            journaled = opened.get(incident.id)
            # A program that was killed before it wrote its ledger may still have journaled the incident.
            if journaled is None:
                continue
            due = incident.opened_at + timedelta(seconds=journaled["deadline_s"] or 0)
            if not journaled["deadline_s"] or journaled["on_deadline"] != decision.action:
                broken.append(f"{incident.id} was decided ({decision.action}) by a deadline that it does not have")
            elif decision.decided_at < due - CLOCK_TOLERANCE:
                broken.append(f"{incident.id} was decided {due - decision.decided_at} before its deadline")
        elif decision.by.startswith("rule:"):
            rule = evidence.rules.get(int(decision.by.removeprefix("rule:")))
            if wrong := not_its_own(decision, rule, opened.get(incident.id)):
                broken.append(f"{incident.id} was {wrong}")
        elif evidence.sent.get((decision.by, incident.id)) != decision.action:
            broken.append(f"{incident.id} was decided ({decision.action}) by {decision.by}, who did not send this")
    return broken


def every_event_once(evidence: Evidence) -> list[str]:
    """12. No event is lost or stored twice, except plain events that are lost when JetStream is wiped."""
    found = texts(evidence.stored)
    # Unique texts only: a supervisor may report two ends with the same text.
    ours = {entry["text"] for entries in evidence.ledgers.values() for entry in entries if entry.what in _OWN_WORDS}
    broken = [f"{text!r} is stored {len(found[text])} times" for text in ours if len(found.get(text, ())) > 1]
    for node, entries in evidence.ledgers.items():
        broken += [
            f"{entry['text']!r} of {node} was reported and is not stored"
            for entry in entries
            if entry.what == "reported" and entry["text"] not in found and not _may_be_gone(evidence, entry)
        ]
    if lost_with_wipes(evidence) and not evidence.losses_reported:
        broken.append(
            f"{lost_with_wipes(evidence)} events were lost with JetStream's data, and the product did not report it"
        )
    if evidence.losses_reported > len(evidence.wiped_at):
        broken.append(f"{evidence.losses_reported} losses were reported, {len(evidence.wiped_at)} happened")
    numbers = [event.seq for event in evidence.stored]
    if numbers != list(range(1, len(numbers) + 1)):
        broken.append(f"the numbers of {len(numbers)} events have a gap")
    return broken


def _may_be_gone(evidence: Evidence, entry: Entry) -> bool:
    return any(wiped - BEFORE_A_WIPE_S < entry.at < wiped for wiped in evidence.wiped_at)


CHECKS: tuple[Check, ...] = (
    single_winner,
    applied_once,
    no_incident_is_lost,
    healed_in_time,
    applied_is_true,
    right_incarnation,
    outcomes_stand,
    restarts_are_bounded,
    every_change_is_audited,
    nobody_by_itself,
    every_event_once,
    handed_over_once,
    rules_keep_within_bounds,
)


def lost_with_wipes(evidence: Evidence) -> int:
    """Number of events without an incident that were lost with JetStream's data."""
    found = texts(evidence.stored)
    return sum(
        entry.what == "reported" and entry["text"] not in found
        for entries in evidence.ledgers.values()
        for entry in entries
    )


def _reachable(state: State) -> set[State]:
    """The states that the next look may find, after any number of steps."""
    reached = {state}
    while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    return reached


def _restarts(entries: list[Entry]) -> Iterator[tuple[str, list[float]]]:
    """Each process with the times of its restarts, for each period between resets of the counter.

    It has a clean sheet when its program starts, and when somebody lets it out of its quarantine.
    """
    times: dict[str, list[float]] = {}
    opened: dict[str, str] = {}
    for entry in entries:
        if entry.what == "began":
            yield from times.items()
            times = {}
        elif entry.what == "opened" and entry["quarantined"]:
            opened[entry["incident"]] = entry["quarantined"]
        elif entry.what == "took" and entry["result"] == "new" and entry["incident"] in opened:
            process = opened[entry["incident"]]
            yield process, times.get(process, [])
            times[process] = []
        elif entry.what == "begins":
            process = entry["process"]
            if process in times:
                times[process].append(entry.at)
            else:
                times[process] = []  # its first start is no restart
    yield from times.items()
