"""``steward run`` on the whole product, with real programs: as if nobody supervised them, until they fail."""

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from errorkernel.node import BlockingKernel
from errorkernel.node.delivery import backlog_log
from errorkernel.node.run import command_line
from errorkernel.node.run.options import parse
from tests.support.node_peer import alive, unreachable
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

STEWARD = [sys.executable, str(ROOT / "manage.py"), "run"]
WAIT_S = PATIENCE_S


_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _why_not(*command: str) -> str:
    """Why this cannot be done here; nothing where it can. In CI, and as root, it must be possible."""
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        return ""
    if not shutil.which("unshare"):
        return "no unshare (Debian: apt-get install util-linux)"
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


NO_NAMESPACE = _why_not(*_NAMESPACE)
NO_MOUNTS = _why_not("unshare", "--mount")


class Node:
    """One node of a running product, whose programs share a journal."""

    def __init__(self, product: Product, directory: Path) -> None:
        self.product = product
        self.token = product.token()
        self.credentials = directory / "ship1.json"
        self.credentials.write_text(json.dumps(product.add_node("ship1")))
        self.journal = directory / "journal"

    def env(self, **more: str) -> dict[str, str]:
        own = {"STEWARD_NODE_CREDENTIALS": str(self.credentials), "STEWARD_NODE_JOURNAL": str(self.journal)}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STEWARD_")}
        return {**clean, **own, "PYTHONPATH": str(ROOT), **more}

    def start(self, process: str, *words: str, env: dict[str, str] | None = None, **options) -> subprocess.Popen:
        argv = [*STEWARD, "--process", process, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(argv, env=env or self.env(), **{**pipes, **options})

    def run(self, process: str, *words: str, input: bytes = b"", env: dict[str, str] | None = None):
        argv = [*STEWARD, "--process", process, *words]
        return subprocess.run(argv, env=env or self.env(), input=input, capture_output=True, timeout=PATIENCE_S)

    def items(self, what: str, process: str) -> list[dict]:
        _, found = self.product.call(f"/api/v1/{what}?limit=1000&order=desc", self.token)
        return [one for one in reversed(found["items"]) if one["process"] == process]

    def events(self, process: str) -> list[dict]:
        return self.items("events", process)

    def arrived(self, process: str, count: int = 1) -> list[dict]:
        """Its events, as soon as there are so many. On a busy machine a moment may be too short to send one: then
        the next program of the node does."""

        def there() -> list[dict] | None:
            if len(self.events(process)) < count:
                self.run("postman", "--", "true")
            found = self.events(process)
            return found if len(found) >= count else None

        return wait_for(there, WAIT_S)

    def event(self, process: str) -> dict:
        """The only one of this process, with what the list leaves out."""
        [found] = self.arrived(process)
        with contextlib.closing(sqlite3.connect(self.product.directory / "steward.sqlite3")) as db:
            query = "SELECT stack, tags FROM errorkernel_errorevent WHERE seq = ?"
            stack, tags = db.execute(query, (found["seq"],)).fetchone()
        return {**found, "stack": stack, "tags": json.loads(tags)}

    def question(self, process: str, number: int = 1) -> dict:
        """The ``number``-th one."""

        def asked() -> dict | None:
            found = sorted(self.items("incidents", process), key=lambda one: one["raised_at"])
            return found[number - 1] if len(found) >= number else None

        return wait_for(asked, WAIT_S)

    def answer(self, question: dict, action: str) -> None:
        body = {"action": action, "reason": "test"}
        status, said = self.product.call(f"/api/v1/incidents/{question['id']}/decision", self.token, body)
        assert status == 200, said

    def becomes(self, process: str, state: str, number: int = 1) -> dict:
        def there() -> dict | None:
            found = self.question(process, number)
            return found if found["state"] == state else None

        return wait_for(there, WAIT_S)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    product = Product(tmp_path_factory.mktemp("up") / "data").start()
    yield Node(product, tmp_path_factory.mktemp("ship1"))
    product.stop()


@pytest.fixture
def alone(node: Node, tmp_path: Path) -> Node:
    """The same node with a journal that no other test has."""
    made = object.__new__(Node)
    made.__dict__.update({**node.__dict__, "journal": tmp_path / "journal"})
    return made


def sh(script: str, *arguments: str) -> list[str]:
    return ["--", "sh", "-c", textwrap.dedent(script), "sh", *arguments]


def python(script: str, *arguments: str) -> list[str]:
    return ["--", sys.executable, "-c", textwrap.dedent(script), *arguments]


def lines_of(path: Path, count: int) -> list[str]:
    """The lines in a file, as soon as there are so many."""

    def there() -> list[str] | None:
        found = path.read_text().splitlines() if path.exists() else []
        return found if len(found) >= count else None

    return wait_for(there, WAIT_S)


def no_longer(process: subprocess.Popen) -> int:
    """Its status; its pipes are closed."""
    process.communicate(timeout=WAIT_S)
    return process.returncode


# --- as if nobody supervised it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", -9), ("kill -SEGV $$", -11), ("kill $$", -15)],
)
def test_the_status_is_the_programs_own(node: Node, script: str, status: int) -> None:
    assert node.run("status", *sh(script)).returncode == status


def test_every_byte_goes_through_in_both_directions(node: Node) -> None:
    data = os.urandom(3_000_000)
    done = node.run("bytes", "--", "tee", "/dev/stderr", input=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, data)


def test_a_prompt_without_newline_is_seen_before_it_is_answered(node: Node) -> None:
    process = node.start("prompt", *sh("printf 'name? ' >&2; read name; echo hello $name"), stdin=subprocess.PIPE)
    assert process.stderr.read(6) == b"name? "
    assert process.communicate(b"alice\n", timeout=WAIT_S) == (b"hello alice\n", b"")


def test_arguments_environment_directory_and_descriptors_are_the_callers(node: Node, tmp_path: Path) -> None:
    script = 'printf "%s|" "$@" "$FRUIT" "$PWD" >&3; env | grep -c STEWARD_NODE_CREDENTIALS_JSON >&3'
    reading, writing = os.pipe()
    text = node.credentials.read_text()
    env = node.env(FRUIT="a\nb", STEWARD_NODE_CREDENTIALS="", STEWARD_NODE_CREDENTIALS_JSON=text)
    argv = ["sh", "-c", f'exec 3>/dev/fd/{writing}; exec "$@"', "sh", *STEWARD, *sh(script, "--node", "x", "", "*")]
    process = subprocess.Popen(argv, env=env, cwd=tmp_path, pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as seen:
        assert seen.read() == f"--node|x||*|a\nb|{tmp_path}|0\n"
    process.wait(WAIT_S)


def test_a_script_without_a_first_line_is_run_by_sh(node: Node, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo $1; exit 4\n")
    script.chmod(0o755)
    done = node.run("bare", "--", str(script), "argument")
    assert (done.returncode, done.stdout) == (4, b"argument\n")


def test_nothing_of_django_is_imported(node: Node) -> None:
    argv = [sys.executable, "-X", "importtime", *STEWARD[1:], "--", "true"]
    done = subprocess.run(argv, env=node.env(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert "errorkernel.node.run.main" in done.stderr
    assert "django" not in done.stderr


def test_what_runs_in_the_background_lives_on_after_an_end_of_its_own(node: Node, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = "setsid sleep 300 >/dev/null 2>&1 & echo $! >> $0; sleep 300 >/dev/null 2>&1 & echo $! >> $0; exit $1"
    for status in (0, 1):
        done = node.run("daemons", "--", "sh", "-c", script, str(pids), str(status))
        assert done.returncode == status
    daemons = [int(one) for one in pids.read_text().split()]
    try:
        assert [alive(pid) for pid in daemons] == [True] * 4
    finally:
        for pid in daemons:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("where", ["pipe", "file"])
def test_what_runs_in_the_background_may_write_to_standard_error_later(node: Node, tmp_path: Path, where: str) -> None:
    script = """
        import pathlib, sys, time
        while not pathlib.Path(sys.argv[1]).exists():
            time.sleep(0.05)
        for number in range(3):
            print("late", number, file=sys.stderr, flush=True)
        pathlib.Path(sys.argv[2]).touch()
    """
    go, ended = tmp_path / "go", tmp_path / "ended"
    (tmp_path / "late.py").write_text(textwrap.dedent(script))
    with (tmp_path / "stderr").open("wb") as file:
        stderr = subprocess.PIPE if where == "pipe" else file
        start = f"{sys.executable} $0 $1 $2 >/dev/null & echo early >&2"
        words = ["--", "sh", "-c", start, str(tmp_path / "late.py"), str(go), str(ended)]
        process = node.start("late", *words, stderr=stderr)
        said = process.communicate(timeout=WAIT_S)[1]
    assert process.returncode == 0
    go.touch()
    wait_for(ended.exists, WAIT_S)
    if where == "pipe":
        assert said == b"early\n"
    else:
        wait_for(lambda: (tmp_path / "stderr").read_text() == "early\nlate 0\nlate 1\nlate 2\n", WAIT_S)


# --- what is reported ------------------------------------------------------------------------------------------------


def test_a_failure_is_reported_with_status_last_words_duration_and_command(node: Node) -> None:
    script = "for n in 1 2 3 4; do echo line $n >&2; done; exit 3"
    done = node.run(
        "copy", "--node", "ship1", "--stderr-lines", "3", "--tag", "release=1.4", "--tag", "host=here",
        *sh(script, "--password", "x1", "--token=x2", "https://me:x3@example.org/"),
    )  # fmt: skip
    assert done.returncode == 3
    event = node.event("copy")
    assert (event["kind"], event["text"]) == ("exit status 3", "copy ended with exit status 3: line 4")
    assert event["stack"] == "line 2\nline 3\nline 4"
    assert event["incarnation"] == 1
    tags = event["tags"]
    assert (tags["release"], tags["host"], tags["directory"]) == ("1.4", "here", os.getcwd())
    assert tags["duration"].endswith(" s")
    assert "--password … --token=… https://me:…@example.org/" in tags["command"]
    assert not [secret for secret in ("x1", "x2", "x3") if secret in json.dumps(event)]


def test_arguments_can_be_left_out(node: Node) -> None:
    node.run("hush", "--hide-arguments", *sh("exit 1", "confidential"))
    assert node.event("hush")["tags"]["command"] == "sh …"


def test_a_signal_is_reported_by_its_name(node: Node) -> None:
    node.run("segv", *sh("kill -SEGV $$"))
    assert node.event("segv")["kind"] == "SIGSEGV"


def test_megabytes_without_a_newline_are_passed_on_and_their_end_is_kept(node: Node) -> None:
    done = node.run("flood", *python("import sys; sys.stderr.write('x' * 5_000_000 + 'the end'); sys.exit(1)"))
    assert len(done.stderr) == 5_000_007
    event = node.event("flood")
    assert event["stack"].endswith("xxthe end")
    assert len(event["stack"]) <= 2000


def test_what_is_still_written_at_the_end_is_neither_lost_nor_waited_for(node: Node) -> None:
    """A child in the background holds standard error open; the reader is slow."""
    script = "sleep 300 & echo $!; head -c 300000 /dev/zero | tr '\\0' x >&2; echo done >&2; exit 1"
    process = node.start("slow", *sh(script))
    daemon = int(process.stdout.readline())
    try:
        time.sleep(1)  # the pipe is full, and the program waits for us
        with process.stderr as stream:
            assert stream.read(300_000) == b"x" * 300_000
            assert stream.read() == b"done\n"
        assert process.wait(WAIT_S) == 1
        assert alive(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)
    process.stdout.close()
    assert node.event("slow")["stack"].endswith("done")


@pytest.mark.parametrize(("command", "status"), [("/nowhere/program", 127), ("no-such-program", 127), ("/etc", 126)])
def test_a_command_that_cannot_be_run_has_the_status_of_shells_and_is_reported(
    node: Node, command: str, status: int
) -> None:
    process = f"not {command}"
    done = node.run(process, "--", command)
    assert done.returncode == status
    assert done.stderr.startswith(b"steward run: ")
    assert "cannot be started" in node.event(process)["text"]


def test_a_python_program_may_ask_and_tell_while_it_runs(node: Node, tmp_path: Path) -> None:
    script = """
        from errorkernel.node.process.child import worker
        me = worker()
        me.info(f"life {me.incarnation}")
        if me.incarnation == 1:
            me.ask("stuck")
        """
    process = node.start("talker", *python(script))
    node.answer(node.question("talker"), "kill")
    assert node.becomes("talker", "applied")["new_incarnation"] == 2
    assert no_longer(process) == 0
    assert [one["text"] for one in node.arrived("talker", 3)] == ["life 1", "stuck", "life 2"]


# --- asked and answered ----------------------------------------------------------------------------------------------


def test_continue_leaves_it_ended_and_kill_starts_it_anew(node: Node, tmp_path: Path) -> None:
    count = tmp_path / "count"
    process = node.start("asker", "--ask", "--", "sh", "-c", "echo x >> $0; exit 5", str(count))
    first = node.question("asker")
    assert first["incarnation"] == 1
    assert process.poll() is None
    node.answer(first, "kill")
    assert node.becomes("asker", "applied")["new_incarnation"] == 2
    node.answer(node.question("asker", 2), "continue")
    assert no_longer(process) == 5
    assert node.becomes("asker", "applied", 2)["new_incarnation"] is None
    assert count.read_text() == "x\nx\n"


def test_continue_starts_what_is_to_be_restarted_and_stop_does_not(node: Node, tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = ["sh", "-c", "echo x >> $0; kill -9 $$", str(count)]
    process = node.start("again", "--ask", "--restart", "transient", "--", *command)
    node.answer(node.question("again"), "continue")
    second = node.question("again", 2)
    node.answer(second, "stop")
    assert no_longer(process) == -9
    node.becomes("again", "applied", 2)
    assert count.read_text() == "x\nx\n"


def test_a_deadline_answers_in_place_of_a_person(node: Node) -> None:
    done = node.run("late", "--ask", "--deadline", "0.5", "--on-deadline", "continue", *sh("exit 6"))
    assert done.returncode == 6
    node.becomes("late", "applied")


def test_sigterm_while_it_waits_withdraws_the_question(node: Node) -> None:
    process = node.start("impatient", "--ask", *sh("exit 7"))
    node.question("impatient")
    process.terminate()
    assert no_longer(process) == 7
    node.becomes("impatient", "withdrawn")


def test_the_supervisors_own_death_takes_the_program_along_and_the_next_one_carries_on(
    alone: Node, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = """
        import os, sys, subprocess
        from errorkernel.node.process.child import worker
        me = worker()
        child = subprocess.Popen(["sleep", "300"])
        with open(sys.argv[1], "a") as file:
            file.write(f"{os.getpid()} {child.pid}\\n")
        me.ask("stuck")
        """
    process = alone.start("mortal", *python(script, str(pids)))
    question = alone.question("mortal")
    process.kill()
    program, grandchild = map(int, lines_of(pids, 1)[0].split())
    wait_for(lambda: not alive(program), WAIT_S)
    again = alone.start("mortal", *python(script, str(pids)))
    assert alone.question("mortal", 2)["incarnation"] == question["incarnation"] + 1
    alone.becomes("mortal", "withdrawn")
    assert not alive(grandchild), "two incarnations must not work beside each other"
    again.terminate()
    assert no_longer(again) == -15
    process.communicate(timeout=WAIT_S)


# --- restarts --------------------------------------------------------------------------------------------------------


def test_transient_is_started_again_until_it_ends_well(node: Node, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = "echo x >> $0; test $(wc -l < $0) = 3"
    done = node.run("transient", "--restart", "transient", "--", "sh", "-c", script, str(count))
    assert (done.returncode, count.read_text()) == (0, "x\n" * 3)
    assert len(node.arrived("transient", 2)) == 2


def test_permanent_is_always_started_again_until_it_is_told_to_end(node: Node, tmp_path: Path) -> None:
    count = tmp_path / "count"
    process = node.start("permanent", "--restart", "permanent", "--", "sh", "-c", "echo x >> $0", str(count))
    lines_of(count, 2)
    process.terminate()
    assert no_longer(process) == 0
    assert node.events("permanent") == []


@pytest.fixture(autouse=True)
def hangups_are_not_ignored() -> Iterator[None]:
    """As they are where the tests themselves run under ``nohup``: a program that ignores one never sees it."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


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


def test_ctrl_c_while_it_waits_for_an_answer_ends_the_waiting(node: Node) -> None:
    terminal = Terminal(node, "--process", "waits", "--ask", *sh("exit 7"))
    node.question("waits")
    terminal.type(b"\x03")
    assert terminal.wait() == 7
    node.becomes("waits", "withdrawn")


# --- what may be missing ---------------------------------------------------------------------------------------------


def test_without_a_broker_it_runs_at_once_and_the_next_run_sends_the_report(alone: Node, tmp_path: Path) -> None:
    away = json.loads(alone.credentials.read_text())
    with socket.socket() as silent:
        # It takes connections, and says nothing: worse than one that refuses them.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        away["nats_url"] = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        unreachable = tmp_path / "away.json"
        unreachable.write_text(json.dumps(away))
        done = alone.run("unheard", "--credentials", str(unreachable), *sh("echo out; echo err >&2; exit 3"))
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert alone.events("unheard") == []
    assert alone.event("unheard")["kind"] == "exit status 3", "another program of the node has sent it"


def test_a_long_backlog_is_named_at_the_end(tmp_path: Path) -> None:
    credentials, journal = unreachable(tmp_path), tmp_path / "journal"
    with BlockingKernel.from_file(credentials, journal=journal, close_wait_s=0) as kernel:
        for number in range(backlog_log.LONG):
            kernel.error(f"failure {number}")
    words = ["--process", "x", "--credentials", str(credentials), "--journal", str(journal), "--bandwidth", "500"]
    done = subprocess.run([*STEWARD, *words, "--", "true"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert f"{backlog_log.LONG} messages are unsent; what is not sent now stays in {journal}" in done.stderr
    words[-1] = "0"
    done = subprocess.run([*STEWARD, *words, "--", "true"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "not a number of bytes a second" in done.stderr) == (125, True)


def test_cut_off_it_does_what_it_was_told_to_and_says_so_afterwards(alone: Node, tmp_path: Path) -> None:
    away = unreachable(tmp_path)
    words = ["--credentials", str(away), "--ask", "--deadline", "0.3", "--when-isolated", "kill"]
    script = sh("[ -e $1 ] || { touch $1; exit 3; }", str(tmp_path / "mended"))
    done = alone.run("cut-off", *words, "--isolated-grace", "0.3", *script)
    assert done.returncode == 0
    assert b"The node itself decides kill" in done.stderr
    alone.arrived("cut-off")
    told = alone.becomes("cut-off", "withdrawn")
    assert (told["by_itself"], told["new_incarnation"], told["decision"]) == ("kill", 2, None)
    body = {"action": "continue", "reason": "too late"}
    status, refused = alone.product.call(f"/api/v1/incidents/{told['id']}/decision", alone.token, body)
    assert (status, refused["state"]) == (409, "withdrawn")


def test_without_a_journal_it_runs_all_the_same_and_says_so_once(node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # Long enough for the broker to be reached: what is unsent at the end has nowhere to stay.
    done = node.run("no journal", "--journal", str(tmp_path / "file" / "journal"), *sh("echo out; sleep 4; exit 3"))
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert done.stderr.count(b"\n") == 1
    assert b"journal" in done.stderr
    assert node.event("no journal")["kind"] == "exit status 3", "with the broker there, it is even reported"


# The checkout stays where it is, also below a directory that is hidden: what is tried is that nothing can be written.
_READ_ONLY = (
    f"mount -t tmpfs none /mnt; mkdir /mnt/checkout; mount --bind {ROOT} /mnt/checkout;"
    " for at in /dev/shm /tmp /var/tmp; do mount -t tmpfs none $at; done;"
    f" mkdir -p {ROOT}; mount --bind /mnt/checkout {ROOT};"
    " for at in /dev/shm /tmp /var/tmp; do mount -o remount,ro $at || exit 99; done; cd /proc;"
)
_FULL = "mount -t tmpfs -o size=16k none /mnt; head -c 20000 /dev/zero >/mnt/journal-wal 2>/dev/null;"


@pytest.mark.parametrize(
    ("mount", "journal", "said"),
    [(_READ_ONLY, "/proc/journal", b"unsupervised"), (_FULL, "/mnt/journal", b"cannot be")],
    ids=["read-only", "full"],
)
def test_a_disk_that_cannot_be_written_to_keeps_no_program_from_running(
    node: Node, mount: str, journal: str, said: bytes
) -> None:
    if NO_MOUNTS:
        pytest.skip(NO_MOUNTS)
    env = node.env(STEWARD_NODE_CREDENTIALS="", STEWARD_NODE_CREDENTIALS_JSON=node.credentials.read_text())
    run = [*STEWARD, "--journal", journal, *sh("read line; echo $line; kill -9 $$")]
    argv = ["unshare", "--mount", "sh", "-c", f'{mount} exec "$@"', "sh", *run]
    done = subprocess.run(argv, env=env, input=b"through\n", capture_output=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (-9, b"through\n")
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_closed_standard_descriptors_do_not_confuse_it(alone: Node) -> None:
    argv = [
        "sh",
        "-c",
        'exec "$@" <&- 2>&-',
        "sh",
        *STEWARD,
        "--process",
        "closed",
        *sh("echo err >&2; cat; echo out; exit 3"),
    ]
    done = subprocess.run(argv, env=alone.env(), stdout=subprocess.PIPE, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert alone.event("closed")["stack"] == "err"


def test_a_journal_that_breaks_while_it_runs_keeps_nothing_from_being_restarted(alone: Node, tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = ["sh", "-c", "echo x >> $0; read line; exit 3", str(count)]
    process = alone.start("survivor", "--ask", "--restart", "permanent", "--", *command, stdin=subprocess.PIPE)
    lines_of(count, 1)
    with contextlib.closing(sqlite3.connect(alone.journal)) as db:
        for table in ("process", "incident", "backlog"):
            db.execute(f"DROP TABLE {table}")
    process.stdin.close()
    lines_of(count, 3)
    process.terminate()
    process.stdin = None
    said = process.communicate(timeout=WAIT_S)[1]
    assert process.returncode == 3
    assert b"No incident can be opened" in said
    assert b"Traceback" not in said


def test_a_journal_that_breaks_as_the_program_begins_to_run_does_not_start_it_twice(
    alone: Node, tmp_path: Path
) -> None:
    """Its questions cannot be read from the moment on in which one of its processes is said to run."""
    assert alone.run("survivor", *sh("exit 0")).returncode == 0
    count = tmp_path / "count"
    with contextlib.closing(sqlite3.connect(alone.journal)) as db:
        db.execute("ALTER TABLE incident RENAME TO asked")
        # A process's name is no JSON.
        running = "SELECT name, 0, json(name), 0, 'orphaned', 0, x'', NULL, NULL, NULL, 0, 1 FROM process"
        db.execute(f"CREATE VIEW incident AS SELECT * FROM asked UNION ALL {running} WHERE state = 'running' AND pid")
        db.execute("CREATE TRIGGER writable INSTEAD OF UPDATE ON incident BEGIN SELECT 1; END")
    process = alone.start("survivor", *sh("echo x >> $1; sleep 1; exit 3", str(count)))
    said = process.communicate(timeout=WAIT_S)[1]
    assert process.returncode == 3
    assert b"cannot be read" in said
    assert b"unsupervised" not in said
    assert lines_of(count, 1) == ["x"]


def test_programs_share_a_journal_and_a_second_one_of_the_same_name_gets_a_number(node: Node) -> None:
    first = node.start("twin", *sh("echo ready; read line; exit 3"), stdin=subprocess.PIPE)
    first.stdout.readline()
    second = node.run("twin", *sh("exit 4"))
    assert second.returncode == 4
    first.communicate(b"\n", timeout=WAIT_S)
    assert first.returncode == 3
    assert node.event("twin")["kind"] == "exit status 3"
    assert node.event("twin #2")["kind"] == "exit status 4"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--node", "ship2", "--", "true"], "credentials of the node ship1"),
        (["--credentials", "/nowhere", "--", "true"], "cannot be read"),
        (["true"], "unrecognized"),
        ([], "write it after --"),
        (["--restart", "sometimes", "--", "true"], "invalid choice"),
        (["--tag", "no value", "--", "true"], "NAME=VALUE"),
        (["--deadline", "5", "--", "true"], "needs --ask"),
        (["--ask", "--on-deadline", "kill", "--", "true"], "needs --deadline"),
        (["--grace", "-1", "--", "true"], "not a number"),
        (["--ask", "--when-isolated", "kill", "--", "true"], "needs --deadline"),
        (["--ask", "--deadline", "1", "--when-isolated", "stop", "--", "true"], "invalid choice"),
        (["--ask", "--deadline", "1", "--isolated-grace", "5", "--", "true"], "needs --when-isolated"),
    ],
)
def test_options_that_cannot_be_followed_are_told_with_a_status_of_their_own(
    node: Node, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words, {"STEWARD_NODE_CREDENTIALS": str(node.credentials)})
    assert ended.value.code == 125
    assert complaint in capsys.readouterr().err


def test_without_credentials_it_says_where_they_are_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--", "true"], {})
    assert "STEWARD_NODE_CREDENTIALS_JSON" in capsys.readouterr().err


def test_the_journal_is_looked_for_in_the_users_state(node: Node) -> None:
    env = {"STEWARD_NODE_CREDENTIALS_JSON": node.credentials.read_text(), "XDG_STATE_HOME": "/state"}
    found = parse(["--", "/bin/true"], env)
    assert (str(found.journal), found.process) == ("/state/steward/ship1.journal", "true")


def test_what_plainly_is_a_secret_is_left_out_of_a_command() -> None:
    argv = [
        "psql",
        "--password=a b",
        "--db-password",
        "c",
        "PGPASSWORD=d",
        "--token",
        "--verbose",
        "postgres://u:e@h/f?g",
    ]
    told = command_line.show(argv)
    assert told == "psql --password=… --db-password … PGPASSWORD=… --token --verbose 'postgres://u:…@h/f?g'"
    assert command_line.show(["/bin/a program", "x"], arguments=False) == "'/bin/a program' …"
    assert command_line.show(["true"], arguments=False) == "true"


# --- process 1 -------------------------------------------------------------------------------------------------------

as_process_1 = pytest.mark.skipif(bool(NO_NAMESPACE), reason=NO_NAMESPACE or "-")


@as_process_1
def test_as_process_1_it_reaps_orphans_and_keeps_the_programs_status(alone: Node) -> None:
    script = """
        import os, subprocess, sys, time
        from pathlib import Path
        assert os.getppid() == 1
        for _ in range(50):
            subprocess.run(["sh", "-c", "(sleep 0.1; exit 1) & (exit 2) & exit 0"])
        def others():
            return {one.name for one in Path("/proc").iterdir() if one.name.isdigit()} - {"1", str(os.getpid())}
        deadline = time.monotonic() + 20
        while others() and time.monotonic() < deadline:
            time.sleep(0.05)
        print(len(others()), flush=True)
        sys.exit(11)
        """
    argv = [*_NAMESPACE, *STEWARD, "--process", "init", *python(script)]
    done = subprocess.run(argv, env=alone.env(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (11, "0\n", "")
    assert alone.event("init")["kind"] == "exit status 11"


@as_process_1
def test_as_process_1_it_passes_sigterm_on_and_says_128_and_the_signal(alone: Node) -> None:
    argv = [*_NAMESPACE, *STEWARD, "--process", "init 2", *sh("echo ready; exec sleep 300")]
    outer = subprocess.Popen(argv, env=alone.env(), stdout=subprocess.PIPE)
    outer.stdout.readline()
    [init] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    os.kill(int(init), signal.SIGTERM)
    outer.communicate(timeout=WAIT_S)
    assert outer.returncode == 128 + signal.SIGTERM


# --- systemd ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """(NOTIFY_SOCKET, what hears)."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@steward-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.bind(address.replace("@", "\0"))
        hears.settimeout(WAIT_S)
        yield address, hears


def heard(hears: socket.socket, *wanted: str) -> None:
    """All of these lines, in this order, whatever is between them."""
    left = list(wanted)
    while left:
        for line in hears.recv(4096).decode().splitlines():
            if left and line.startswith(left[0]):
                left.pop(0)


def test_systemd_is_told_of_start_life_question_and_end(node: Node, systemd: tuple[str, socket.socket]) -> None:
    address, hears = systemd
    env = node.env(NOTIFY_SOCKET=address, WATCHDOG_USEC="200000")
    script = 'test -z "$NOTIFY_SOCKET$WATCHDOG_USEC" && exit 3'
    process = node.start("service", "--ask", *sh(script), env=env)
    heard(hears, "READY=1", "STATUS=service ended with exit status 3; waits for a decision", "WATCHDOG=1", "WATCHDOG=1")
    process.terminate()
    heard(hears, "STOPPING=1")
    assert no_longer(process) == 3


def test_a_program_may_speak_to_systemd_itself(node: Node, systemd: tuple[str, socket.socket]) -> None:
    address, hears = systemd
    done = node.run("speaks", "--pass-notify", *sh("echo $NOTIFY_SOCKET"), env=node.env(NOTIFY_SOCKET=address))
    assert done.stdout.decode().strip() == address
    hears.setblocking(False)
    with pytest.raises(BlockingIOError):
        hears.recv(4096)


def test_an_address_where_nobody_is_harms_nothing(node: Node, tmp_path: Path) -> None:
    assert node.run("alone", *sh("exit 0"), env=node.env(NOTIFY_SOCKET=str(tmp_path / "none"))).returncode == 0
