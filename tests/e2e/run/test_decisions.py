"""``steward run``: incidents of programs, decisions on them, restarts."""

from pathlib import Path

from tests.support.node_peer import alive
from tests.support.run_node import WAIT_S, Node, lines_of, no_longer, python, sh
from tests.support.waiting import wait_for


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


def test_a_deadline_decides_in_place_of_a_person(node: Node) -> None:
    done = node.run("late", "--ask", "--deadline", "0.5", "--on-deadline", "continue", *sh("exit 6"))
    assert done.returncode == 6
    node.becomes("late", "applied")


def test_sigterm_while_it_waits_withdraws_the_incident(node: Node) -> None:
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
