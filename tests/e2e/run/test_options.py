"""``steward run``: options, process 1 and systemd."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from errorkernel.node.run import command_line
from errorkernel.node.run.options import parse
from tests.support.run_node import STEWARD, WAIT_S, Node, no_longer, python, sh, why_not
from tests.support.waiting import PATIENCE_S

_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


NO_NAMESPACE = why_not(*_NAMESPACE)


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


def test_systemd_is_told_of_start_incarnation_incident_and_end(node: Node, systemd: tuple[str, socket.socket]) -> None:
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
