"""Journals of a node, for tests."""

import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import (
    Action,
    Decision,
    Outcome,
)
from errorkernel.node.journal.backlog import ERROR, Backlog
from errorkernel.node.journal.database import Journal
from errorkernel.node.journal.incidents import Incidents
from errorkernel.node.journal.next_window import Window
from errorkernel.node.journal.processes import Processes
from errorkernel.protocol import json_codec as wire
from tests.support.node_peer import program_env

NODE = "ship1"


class Program:
    """A program that uses the journal at ``path``: its parts, as ``Kernel`` puts them together."""

    def __init__(self, path: Path, *, max_rows: int = 1000, max_bytes: int = 10**7) -> None:
        self.journal = Journal(path)
        self.journal.register()
        self.backlog = Backlog(self.journal, max_rows=max_rows, max_bytes=max_bytes)
        self.incidents = Incidents(self.journal, NODE)
        self.processes = Processes(self.journal, NODE)

    def report(self, text: str, weight: int = ERROR, process: str = "p") -> None:
        if self.backlog.add(process, f"ek.evt.{NODE}", text, weight, text.encode()):
            self.backlog.make_room()

    def ask(self, process: str = "p", incarnation: int = 1) -> UUID:
        incident = uuid7()
        self.incidents.open(incident, process, incarnation, b"{}")
        return incident

    def waiting(self) -> list[str]:
        """Ids of what may be sent, in the order of writing."""
        return [item.msg_id for item in sorted(self.window().items, key=lambda item: item.number)]

    def window(self, max_rows: int = 1000, max_bytes: int = 10**9) -> Window:
        return self.backlog.next_window(max_rows, max_bytes)

    def outcomes(self) -> dict[UUID, Outcome]:
        items = self.window().items
        found = [wire.decode_outcome(one.payload, Limits()) for one in items if one.subject.startswith("ek.out.")]
        return {one.incident: one for one in found}


def decision(incident: UUID, action: Action = Action.CONTINUE, incarnation: int = 1) -> Decision:
    return Decision(incident, uuid4(), action, "user:alice", datetime.now(UTC), incarnation)


def run_program(path: Path, code: str) -> subprocess.Popen[str]:
    """Another program with the same journal; its first line of output says that it is ready."""
    head = f"""
        import sys, time
        from pathlib import Path
        from tests.support.journals import *
        program = Program(Path({str(path)!r}))
    """
    program = textwrap.dedent(head) + textwrap.dedent(code) + "\nprint('ready', flush=True)\ntime.sleep(60)"
    started = subprocess.Popen([sys.executable, "-c", program], env=program_env(), stdout=subprocess.PIPE, text=True)
    assert started.stdout
    assert started.stdout.readline() == "ready\n"
    return started
