"""``steward run``: programs run as if nobody supervised them, and their failures are reported."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.node_peer import alive
from tests.support.run_node import STEWARD, WAIT_S, Node, python, sh
from tests.support.waiting import PATIENCE_S, wait_for

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
