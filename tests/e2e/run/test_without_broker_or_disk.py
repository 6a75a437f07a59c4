"""``steward run`` without a broker, a journal, a disk or descriptors."""

import contextlib
import json
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from errorkernel.node import BlockingKernel
from errorkernel.node.delivery import backlog_log
from tests.support.node_peer import unreachable
from tests.support.paths import ROOT
from tests.support.run_node import STEWARD, WAIT_S, Node, lines_of, sh, why_not
from tests.support.waiting import PATIENCE_S

NO_MOUNTS = why_not("unshare", "--mount")


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
