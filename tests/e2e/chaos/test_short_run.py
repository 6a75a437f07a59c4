"""Chaos: a short run breaks nothing, and without a protection it does."""

import re
import subprocess
import sys

import pytest

from errorkernel.ops.chaos import invariants, sabotage
from errorkernel.ops.chaos.plan import Kind
from tests.support.paths import ROOT

# --- the real thing ---------------------------------------------------------------------------------------------------


def chaos(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "chaos", "--nodes", "2", *options], cwd=ROOT, capture_output=True, text=True
    )


def test_what_can_go_wrong_must_hold_and_can_be_switched_off_is_documented() -> None:
    text = (ROOT / "docs" / "chaos.md").read_text()
    named = re.findall(r"^\| ((?:`[a-z._]+`(?:, )?)+) \|", text, re.MULTILINE)
    found = {word for row in named for word in re.findall(r"`([a-z._]+)`", row)}
    assert found == {*Kind, *sabotage.NAMES}
    numbers = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    said = [number for check in invariants.CHECKS for number in re.findall(r"\d+(?=\.| and)", check.__doc__ or "")]
    assert numbers == said == [str(number) for number in range(1, 15)]


@pytest.mark.slow
def test_a_short_run_breaks_nothing() -> None:
    # This seed has a bit of everything, and is soon over.
    done = chaos("--seed", "1128", "--faults", "10", "--every", "0.4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"10 faults, \d\d+ events, [1-9]\d* incidents, [1-9]\d* decisions", done.stdout)
    assert done.stdout.endswith("0 violations\n")


@pytest.mark.slow
def test_a_protection_that_is_switched_off_is_seen() -> None:
    done = chaos("--seed", "1096", "--faults", "3", "--every", "0.4", "--break", "uses")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "each of its decisions is counted" in done.stdout
    assert done.stdout.endswith("Again: steward chaos --seed 1096 --faults 3 --every 0.4 --nodes 2 --break uses\n")
