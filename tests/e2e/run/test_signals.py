"""``steward run``: signals and terminals."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.node_peer import alive
from tests.support.run_node import STEWARD, WAIT_S, Node, lines_of, no_longer, python, sh
from tests.support.waiting import wait_for

# --- signals ---------------------------------------------------------------------------------------------------------

_TRAPS = """
    import os, signal, sys, time
    out = open(sys.argv[1], "a", buffering=1)
    def note(number, frame):
        out.write(signal.Signals(number).name + "\\n")
        if number in (signal.SIGTERM, signal.SIGINT):
            sys.exit(9)
    for name in sys.argv[2:]:
        signal.signal(getattr(signal, name), note)
    out.write("ready\\n")
    while True:
        time.sleep(0.05)
    """


def test_signals_reach_the_program_and_sigterm_ends_it_for_good(node: Node, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    names = ["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGRTMIN", "SIGTERM"]
    process = node.start("traps", "--restart", "permanent", *python(_TRAPS, str(seen), *names))
    lines_of(seen, 1)
    for count, name in enumerate(names, start=2):
        process.send_signal(getattr(signal, name))
        assert lines_of(seen, count)[-1] == name
    assert no_longer(process) == 9
    assert lines_of(seen, 1)[0:1] + seen.read_text().splitlines()[1:] == ["ready", *names]
    assert node.events("traps") == [], "it did as it was told"


def test_sigint_is_passed_on_as_sigint(node: Node, tmp_path: Path) -> None:
    process = node.start("sigint", *python(_TRAPS, str(tmp_path / "seen"), "SIGINT"))
    lines_of(tmp_path / "seen", 1)
    process.send_signal(signal.SIGINT)
    assert no_longer(process) == 9


@pytest.mark.parametrize("second", [True, False])
def test_a_program_that_does_not_end_is_forced_by_the_second_signal_or_the_end_of_the_grace(
    node: Node, tmp_path: Path, second: bool
) -> None:
    pids = tmp_path / "pids"
    script = "trap '' TERM; setsid sleep 300 & echo $! > $0; echo $$ >> $0; while :; do sleep 1; done"
    process = node.start("stubborn", "--grace", "600" if second else "0.3", "--", "sh", "-c", script, str(pids))
    left = [int(one) for one in lines_of(pids, 2)]
    process.terminate()
    if second:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.terminate()
    assert no_longer(process) == -9
    assert [alive(pid) for pid in left] == [False, False], "told to end, all of it ends"


_STARTS_SLOWLY = """
    import asyncio, sys
    from errorkernel.node.run.program import Program
    from steward_site.cli import main
    start = Program.start
    async def slowly(program):
        await start(program)  # it runs, and is looked after
        await asyncio.sleep(1)
    Program.start = slowly
    main()
    """


def test_a_signal_in_the_moment_of_the_start_is_heard_once(node: Node, tmp_path: Path) -> None:
    """It leaves the program its grace: only a second one forces it."""
    script = "trap '' TERM; echo $$ > $0; while :; do sleep 1; done"
    words = ["run", "--process", "young", "--grace", "600", "--", "sh", "-c", script, str(tmp_path / "pid")]
    argv = [sys.executable, "-c", textwrap.dedent(_STARTS_SLOWLY), *words]
    process = subprocess.Popen(argv, env=node.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines_of(tmp_path / "pid", 1)
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.terminate()
    assert no_longer(process) == -9


def test_a_signal_that_was_passed_on_and_ended_it_is_no_failure(node: Node) -> None:
    process = node.start("hup", "--restart", "permanent", *sh("echo ready; exec sleep 300"))
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert no_longer(process) == -1
    assert node.events("hup") == []


def test_what_was_ignored_before_stays_ignored(node: Node) -> None:
    """As with ``nohup``."""
    argv = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *STEWARD, *sh("echo ready; read line; exit 3")]
    process = subprocess.Popen(argv, env=node.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(b"\n", timeout=WAIT_S)
    assert process.returncode == 3


def test_sigtstp_stops_both_and_sigcont_lets_both_go_on(node: Node) -> None:
    process = node.start("stopped", *sh("echo $$; exec sleep 300"))
    program = int(process.stdout.readline())

    def states() -> str:
        both = (process.pid, program)
        return "".join(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in both)

    process.send_signal(signal.SIGTSTP)
    wait_for(lambda: states() == "TT", WAIT_S)
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: "T" not in states(), WAIT_S)
    process.terminate()
    assert no_longer(process) == -15


class Terminal:
    """``steward run`` in the foreground of a terminal of its own."""

    def __init__(self, node: Node, *words: str) -> None:
        self.pid, self._keys = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [*STEWARD, *words], node.env())
        self.seen = ""

    def type(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def shows(self, text: str) -> bool:
        if select.select([self._keys], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                self.seen += os.read(self._keys, 4096).decode()
        return text in self.seen

    def expect(self, text: str) -> None:
        wait_for(lambda: self.shows(text), WAIT_S)

    def wait(self) -> int:
        def ended() -> tuple[int, int] | None:
            self.shows("\0")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (pid, status) if pid else None

        status = wait_for(ended, WAIT_S)[1]
        os.close(self._keys)
        return os.waitstatus_to_exitcode(status)


def test_a_terminal_belongs_to_the_program(node: Node) -> None:
    script = """
        import signal
        interrupts = []
        signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))
        with open("/dev/tty") as keys:
            print("name?", flush=True)
            name = keys.readline().strip()
            print("hello", name, flush=True)
            keys.readline()
        print("interrupts:", len(interrupts), flush=True)
        raise SystemExit(8)
        """
    terminal = Terminal(node, "--process", "tty", "--grace", "0", *python(script))
    terminal.expect("name?")
    terminal.type(b"alice\n")
    terminal.expect("hello alice")
    terminal.type(b"\x03")
    time.sleep(0.5)  # were it passed on as well, it would come twice
    terminal.type(b"\n")
    terminal.expect("interrupts: 1")
    assert terminal.wait() == 8
    assert node.event("tty")["kind"] == "exit status 8", "it handled the interrupt, and failed later"


def test_ctrl_c_ends_a_permanent_program_for_good(node: Node) -> None:
    terminal = Terminal(node, "--process", "ctrl-c", "--restart", "permanent", *sh("echo ready; exec sleep 300"))
    terminal.expect("ready")
    terminal.type(b"\x03")
    assert terminal.wait() == -signal.SIGINT
    assert node.events("ctrl-c") == []


def test_ctrl_c_while_it_waits_for_a_decision_ends_the_waiting(node: Node) -> None:
    terminal = Terminal(node, "--process", "waits", "--ask", *sh("exit 7"))
    node.question("waits")
    terminal.type(b"\x03")
    assert terminal.wait() == 7
    node.becomes("waits", "withdrawn")
