"""One demo node: ``python -m errorkernel.ops.demo.node --credentials FILE --work DIR --role copy|fetch|command|tail``.

It supervises its workers until a signal ends it: those of its role (``errorkernel.ops.demo.roles``) and those of the
story (``errorkernel.ops.demo.ingest``).
"""

import argparse
import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from errorkernel.node import Kernel, Restart
from errorkernel.node.process.worker import ProcessWorker
from errorkernel.node.supervision.worker import SupervisedWorker
from errorkernel.ops.demo.ingest import Story
from errorkernel.ops.demo.roles import ROLES, Role
from errorkernel.ops.demo.work_items import DICE, AskSchedule

GRACE_S = 1.0


async def run(credentials: Path, work: Path, role: str) -> None:
    """Supervise until SIGTERM or SIGINT."""
    must_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, must_end.set)
    main, second = work / "main", work / "second"
    for directory in (main, second):
        directory.mkdir(exist_ok=True)
    AskSchedule(main).not_before(time.time() + ROLES[role].first_incident_s * DICE.uniform(1.0, 1.2))
    async with Kernel.from_file(credentials, journal=work / "journal") as kernel:
        workers = [*Story(work).workers(kernel), *_workers(kernel, ROLES[role], work)]
        starting = asyncio.create_task(_start(workers))
        starting.add_done_callback(lambda done: None if done.cancelled() or not done.exception() else must_end.set())
        try:
            await must_end.wait()
            if starting.done():
                starting.result()
        finally:
            starting.cancel()
            await asyncio.wait({starting})
            await asyncio.gather(*(worker.stop() for worker in workers))


def _workers(kernel: Kernel, role: Role, work: Path) -> list[ProcessWorker]:
    def make(name: str, job: Callable[..., None], *arguments: object) -> ProcessWorker:
        return kernel.process_worker(name, job, str(work), *arguments, restart=Restart.PERMANENT, grace_s=GRACE_S)

    return [
        make(role.name, role.job, str(work / "main"), True),
        *(make(name, job) for name, job in role.companions.items()),
        make(f"{role.name}-2", role.job, str(work / "second"), False),
    ]


async def _start(workers: Sequence[SupervisedWorker]) -> None:
    for worker in workers:
        await worker.start()
        if isinstance(worker, ProcessWorker):
            # Not all at once: the machine is still busy with the start of the server.
            await asyncio.sleep(0.3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m errorkernel.ops.demo.node", description=__doc__)
    parser.add_argument("--credentials", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--role", choices=sorted(ROLES), required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, format="demo %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(options.credentials, options.work, options.role))


if __name__ == "__main__":
    main()
