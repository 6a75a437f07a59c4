"""Everything that changes questions, at once and on the same ones: nothing waits for ever, nothing is numbered twice.

``STEWARD_DATABASE_URL=postgresql://… python -m tests.support.races [SECONDS]``, on a database that may be filled. Not
part of the suite, which needs no PostgreSQL: only there do transactions run side by side and can wait for each other.
"""

import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from errorkernel.store.platform.actor import Actor

PAUSE_S = 0.004
LATEST = 12
"""Questions that all of them are after."""


class Races:
    def __init__(self) -> None:
        from errorkernel.domain.rule_policy import RuleAction
        from errorkernel.store import nodes
        from errorkernel.store.rules import changes
        from errorkernel.store.rules.changes import RuleDefinition

        node = f"races-{int(time.time())}"
        nodes.add_node(node, actor=Actor.system(_now()))
        self.node = node
        self.asked: list[Any] = []
        self.wording = RuleDefinition(
            name="races", condition=f"node:{node} process:p0", action=RuleAction.CONTINUE, reason="races"
        )
        self.rule = changes.add(self.wording, actor=Actor.system(_now()), also_waiting=True)

    def some(self, count: int) -> list[Any]:
        latest = self.asked[-LATEST:]
        return [random.choice(latest) for _ in range(count)] if latest else []

    def take_in(self, directory: Any) -> None:
        from errorkernel.domain.ids import uuid7
        from errorkernel.domain.values import Event, EventType, Level
        from errorkernel.store.ingest.batch import Batch, record

        kinds = [EventType.ACTION] * random.choice((0, 3, 6)) + [EventType.ERROR] * 5
        events = [
            Event(
                id=uuid7(), type=kind, process=f"p{random.randrange(5)}", incarnation=random.randrange(1, 4),
                text=f"problem {random.randrange(3)}", level=Level.ERROR, occurred_at=_now(),
            )
            for kind in kinds
        ]  # fmt: skip
        batch = Batch(events=[(self.node, one) for one in events], outcomes=self.outcomes(random.choice((0, 4))))
        record(batch, directory, now=_now())
        self.asked += [one.id for one in events if one.type is EventType.ACTION]

    def outcomes(self, count: int) -> list[Any]:
        from errorkernel.domain.values import Outcome, OutcomeState

        states = OutcomeState.WITHDRAWN, OutcomeState.APPLIED
        return [
            (self.node, Outcome(incident=one, state=random.choice(states), at=_now(), incarnation=1))
            for one in self.some(count)
        ]

    def decide(self) -> None:
        from errorkernel.domain.values import Action
        from errorkernel.store.incidents import decisions

        for one in self.some(1):
            decisions.decide(one, random.choice(list(Action)), actor=Actor("user:races", _now()))

    def deliver(self) -> None:
        from errorkernel.store.incidents import decisions

        decisions.mark_delivered(self.some(5), now=_now())

    def repair(self) -> None:
        from errorkernel.store.incidents import decisions

        for node, outcome in self.outcomes(3):
            decisions.record_outcome(node, outcome, now=_now())

    def escalate(self) -> None:
        from errorkernel.store.incidents import decisions

        for one in self.some(1):
            decisions.escalate(one, Actor("deadline", _now()))

    def judge(self) -> None:
        from errorkernel.store.rules import evaluation

        found = evaluation.look(now=_now())
        while found:
            evaluation.step(found, now=_now())

    def change_rule(self) -> None:
        from errorkernel.store.rules import changes

        row = changes.listed().get(pk=self.rule.pk)
        if row.suspended_at:
            changes.resume(row.pk, "races go on", actor=Actor.system(_now()))
        else:
            changes.change(row.pk, row.revision, self.wording, actor=Actor.system(_now()), also_waiting=True)


def _now() -> datetime:
    return datetime.now(UTC)


def race(what: dict[str, Callable[[], None]], seconds: float) -> bool:
    """Each in a thread of its own, again and again; whether all went well."""
    from django.db import connection

    from errorkernel.store.incidents.decisions import AlreadyDecided, NotOpen
    from errorkernel.store.rules.evaluation import RulesChanged

    until, took, failed = time.monotonic() + seconds, defaultdict[str, list[float]](list), Counter[str]()

    def again(name: str, act: Callable[[], None]) -> None:
        while time.monotonic() < until:
            time.sleep(random.uniform(0, PAUSE_S))
            began = time.monotonic()
            try:
                act()
            except (AlreadyDecided, NotOpen, RulesChanged):
                pass  # somebody was quicker
            except Exception as exc:
                failed[f"{name}: {str(exc).splitlines()[0]}"] += 1
            took[name].append(time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=again, args=one) for one in what.items()]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for name, times in took.items():
        print(
            f"{name:10} {len(times):5}×  p50 {sorted(times)[len(times) // 2] * 1000:5.0f} ms  worst {max(times):.2f} s"
        )
    print(f"failed: {dict(failed) or 'nothing'}")
    return not failed


def main() -> None:
    os.environ.setdefault("STEWARD_DATA_DIR", tempfile.mkdtemp())
    os.environ["DJANGO_SETTINGS_MODULE"] = "steward_site.settings"
    import django

    django.setup(set_prefix=False)
    from django.core.management import call_command

    from errorkernel.models import Incident
    from errorkernel.store.ingest.name_cache import NameCache

    call_command("migrate", verbosity=0)
    races, directories = Races(), [NameCache(), NameCache()]
    well = race(
        {
            "intake": lambda: races.take_in(directories[0]), "intake 2": lambda: races.take_in(directories[1]),
            "decide": races.decide, "decide 2": races.decide, "deliver": races.deliver, "repair": races.repair,
            "escalate": races.escalate, "judge": races.judge, "judge 2": races.judge, "rule": races.change_rule,
        },
        float(sys.argv[1]) if len(sys.argv) > 1 else 20,
    )  # fmt: skip
    numbers = list(Incident.objects.values_list("change", flat=True))
    print(f"{len(numbers)} questions, {len(numbers) - len(set(numbers))} of them numbered twice")
    sys.exit(not well or len(set(numbers)) != len(numbers))


if __name__ == "__main__":
    main()
