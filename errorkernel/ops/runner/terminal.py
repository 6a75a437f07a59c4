"""Prints the steps of a start, and what to do next."""

import sys


def say(sentence: str) -> None:
    """Print one line."""
    print(sentence, flush=True)  # noqa: T201


def report_step(name: str, detail: str = "") -> None:
    """Print that a part of the product is ready, and where it is."""
    say(f"{name:<8} {_mark()}  {detail}".rstrip())


def _mark() -> str:
    try:
        "✓".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "ok"
    return "✓"
