"""Cost and rate of the grouping: ``python -m tests.bench.grouping [--hostile 200000] [--seed 1]``.

Prints processor time per event over the pairs of ``tests/unit/data/grouping.jsonl`` and over everyday errors of common
programs (their digits differ in each round), the share of pairs that is right, and the worst of many hostile texts.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from errorkernel.domain import stack_traces
from errorkernel.domain.fingerprint import grouping, masks
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level
from tests.support import everyday_errors

PAIRS = Path(__file__).parents[1] / "unit" / "data" / "grouping.jsonl"
PIECES = [
    *("a" * 50, "1" * 40, "/", "\\", "'", '"', "`", "0x", "deadbeef", "@", ".", ":", "::", "-", "_", "1.", "1,", "a1"),
    *("a-", "eyJ", "eyJhb.", "://", "http://", "[", "(", "{", "=", "\x1b[", "Mon ", "Jan ", "ab:", "12:", "::1"),
    *("文件", "「", "」", "é", "\u200b", " ", "\n", "status ", "code=", "SQLSTATE[", "at ", "#0 ", 'File "', "@a."),
]  # fmt: skip
ROUNDS = 30


def event(side: dict) -> Event:
    return Event(id=uuid7(), type=EventType.ERROR, level=Level.ERROR, process="p", **side)


def cost(texts: list[str]) -> float:
    """Processor time per text in microseconds, the best of some rounds; digits differ, as they do between events."""
    group, source = grouping._computed.__wrapped__, random.Random(1)
    best = float("inf")
    for _ in range(ROUNDS):
        others = [re.sub(r"\d", lambda _: source.choice("123456789"), text) for text in texts]
        begun = time.thread_time()
        for text in others:
            group("failure", "Error", masks.window(text), "")
        best = min(best, time.thread_time() - begun)
    return best / len(texts) * 1e6


def time_of(call: Callable[[str], str], text: str) -> float:
    """The better of two, so that an interruption is not taken for a slow text."""
    durations = []
    for _ in range(2):
        masks._of_shape.cache_clear()
        begun = time.thread_time()
        call(text)
        durations.append(time.thread_time() - begun)
    return min(durations)


def hostile(source: random.Random) -> str:
    if source.random() < 0.5:
        count = source.randint(1, 40)
        return "".join(source.choice(PIECES) * source.choice((1, 1, 1, 5, 50, 500)) for _ in range(count))[:65536]
    return (source.choice(PIECES) * source.randint(1, 20_000) + source.choice(PIECES))[:65536]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hostile", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pairs = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    everyday = [text[:1000] for _, text in everyday_errors.texts()]
    print(f"{cost([pair[side]['text'][:1000] for pair in pairs for side in 'ab']):.1f} µs an event of the pairs")
    print(f"{cost(everyday):.1f} µs an everyday event")
    split, merges, same = everyday_errors.measure()
    print(f"{len(everyday)} everyday texts: {same - split} of {same} pairs of one cause together, {len(merges)} merged")
    right, total = Counter(), Counter()
    for pair in pairs:
        keys = {grouping.group(event(pair[side])).key for side in "ab"}
        total[pair["language"]] += 1
        right[pair["language"]] += (len(keys) == 1) == (pair["want"] == "same")
    print(", ".join(f"{language} {right[language]}/{count}" for language, count in sorted(total.items())))
    source, worst = random.Random(options.seed), {"mask": (0.0, ""), "place": (0.0, "")}
    for _ in range(options.hostile):
        text = hostile(source)
        for name, call in (("mask", masks.mask), ("place", stack_traces.place)):
            worst[name] = max(worst[name], (time_of(call, text), text[:40]))
    for name, (seconds, text) in worst.items():
        print(f"{name}: worst of {options.hostile} hostile texts {seconds * 1e3:.1f} ms: {text!r}")


if __name__ == "__main__":
    main()
