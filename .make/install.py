"""Runs ``pip install`` with the given arguments and shows one line of progress instead of pip's hundreds.

    python .make/install.py --no-deps --require-hashes -r requirements.txt

On a terminal the line is rewritten once a second; elsewhere one line each 10 s. Where pip fails, all that it printed is
shown, and the exit status is pip's.
"""

import re
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-color", "install", "--progress-bar", "off"]
COLLECTING = re.compile(r"\s*(?:Collecting|Requirement already satisfied:|Obtaining) ([\w.-]+)")


def main(arguments: list[str]) -> int:
    total = sum(_pins(Path(name)) for flag, name in pairwise(arguments) if flag == "-r")
    pip = subprocess.Popen([*PIP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output: list[str] = []
    reading = threading.Thread(target=lambda: output.extend(pip.stdout or ()), daemon=True)
    reading.start()
    _show_until_done(reading, output, total)
    if pip.wait():
        print("".join(output))
    return pip.returncode


def _pins(requirements: Path) -> int:
    return len(re.findall(r"^[\w.-]+==", requirements.read_text(), re.MULTILINE))


def _show_until_done(reading: threading.Thread, output: list[str], total: int) -> None:
    on_terminal = sys.stdout.isatty()
    started = shown_at = time.monotonic()
    while reading.is_alive():
        reading.join(1)
        now = time.monotonic()
        if on_terminal or now - shown_at >= 10:
            shown_at = now
            line = f"  {now - started:3.0f} s  {_state(output[:], total)}"
            print(f"\r\033[K{line[:78]}" if on_terminal else line, end="" if on_terminal else "\n", flush=True)
    if on_terminal:
        print("\r\033[K", end="", flush=True)


def _state(output: list[str], total: int) -> str:
    if any(line.startswith("Installing collected packages") for line in output):
        return f"Installing {total or ''} packages".replace("  ", " ")
    found = [match[1] for line in output if (match := COLLECTING.match(line))]
    if not found:
        return "Starting pip"
    return f"Downloading {len(found)} of {total}: {found[-1]}" if total else f"Preparing {found[-1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
