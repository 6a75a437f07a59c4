"""Invariants of requeued messages, as pure functions of the evidence."""

from collections import Counter

from errorkernel.ops.chaos.evidence import Command, Evidence

UNDER_WAY = ("sent", "received")
ENDED = ("applied", "failed")


def handed_over_once(evidence: Evidence) -> list[str]:
    """13. A requeued message is handed over at most once, and its outcome is reported."""
    broken = []
    entries = [entry for ledger in evidence.ledgers.values() for entry in ledger]
    begun = Counter(entry["command"] for entry in entries if entry.what == "begun")
    broken += [f"command {command} was begun {count} times" for command, count in begun.items() if count > 1]
    started = Counter(entry["text"] for entry in entries if entry.what == "begun")
    handed = Counter(entry["text"] for entry in entries if entry.what == "handed")
    handled = Counter(entry["text"] for entry in entries if entry.what == "handled")
    broken += [
        f"message {text!r} was handed over {count} times, and begun {started[text]} times"
        for text, count in handed.items()
        if count > started[text]
    ]
    sent = Counter(command.message for command in evidence.commands.values() if command.state != "dropped")
    broken += [
        f"message {text!r} was begun {count} times, and requeued {sent[text]} times"
        for text, count in started.items()
        if count > sent[text]
    ]
    applied = Counter(command.message for command in evidence.commands.values() if command.state == "applied")
    broken += [
        f"message {text!r} is shown as applied {count} times, and its process handled it {handled[text]} times"
        for text, count in applied.items()
        if count > handled[text]
    ]
    broken += [
        f"command {command.id} has no outcome" for command in evidence.commands.values() if command.state in UNDER_WAY
    ]
    return broken + _words_that_do_not_stand(evidence)


def _words_that_do_not_stand(evidence: Evidence) -> list[str]:
    broken = []
    for reply in evidence.requeue_replies:
        known = evidence.commands.get(reply.command) if reply.command else None
        if reply.command and (known is None or known.incident != reply.incident):
            broken.append(f"{reply.by} received command {reply.command}, which is not in the database")
        elif known and (known.state == "dropped") != (reply.wish == "drop"):
            broken.append(f"{reply.by} wanted {reply.wish} of {reply.command}; it is {known.state}")
    commands = Counter(reply.command for reply in evidence.requeue_replies if reply.command)
    return broken + [
        f"command {command} was in the replies to {count} users" for command, count in commands.items() if count > 1
    ]


def disagreement(command: Command, on_node: str | None) -> str:
    """How node and kernel differ on a command; empty: they agree."""
    if command.state in UNDER_WAY:
        agreed = on_node in ("waiting", "begun")
    else:
        agreed = command.state == "dropped" or on_node == command.state
    is_ = on_node or "not known"
    return "" if agreed else f"command {command.id} is {is_} on {command.node} and is shown as {command.state}"
