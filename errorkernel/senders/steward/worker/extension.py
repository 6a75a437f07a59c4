"""Tasks for Steward/ctrl nodes in the kernel worker."""

from collections.abc import Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from errorkernel.broker.pull_consumer import PullConsumer
from errorkernel.kernel.extension import KernelContext, KernelExtension
from errorkernel.kernel.task_guards import outlast_database, reconnect_when_consumer_is_lost
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM
from errorkernel.senders.steward.store import actions, error_lines, repeated_messages, rule_evaluation
from errorkernel.senders.steward.worker.error_log import ErrorLog
from errorkernel.senders.steward.worker.intake import StewardIntake
from errorkernel.senders.steward.worker.operator import StewardOperator


class StewardExtension(KernelExtension):
    """With ``STEWARD_LEGACY=off`` it only deletes data after its retention."""

    def __init__(self, context: KernelContext) -> None:
        self._context = context
        self._conf = context.conf
        self._intake: StewardIntake | None = None
        if context.conf.legacy != "off":
            self._intake = StewardIntake(context.conf, context.connection, context.threads)

    def streams(self) -> Sequence[str]:
        return [ERROR_STREAM] if self._conf.legacy == "jetstream" and self._conf.legacy_on_ours else []

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        if self._intake is None:
            return []
        intake = self._intake
        operator = StewardOperator(self._conf, intake.connection, self._context.threads)
        intake.connection.on_connected(operator.connected)
        intake.connection.start()
        tasks = [
            self._context.make_intake(intake.source, intake.take_in).run(),
            outlast_database(intake.write_heartbeats),
            outlast_database(operator.run),
        ]
        if isinstance(intake.source, PullConsumer):
            tasks.append(outlast_database(intake.watch_stream))
            tasks.append(reconnect_when_consumer_is_lost(intake.source, intake.error_connection))
        if self._conf.legacy_error_log:
            error_log = ErrorLog(Path(self._conf.legacy_error_log), self._conf.data_file("error_log_position.json"))
            tasks.append(outlast_database(error_log.run))
        return tasks

    def rule_step(self, *, now: datetime, two_above: int) -> bool:
        return self._intake is not None and rule_evaluation.step(now=now, two_above=two_above)

    def prune(self, *, now: datetime) -> int:
        repeated_messages.prune(now=now)
        error_lines.prune(now=now)
        return actions.prune(days=self._conf.retention_days, now=now)

    async def close(self) -> None:
        if self._intake:
            await self._intake.connection.close()
