"""Django's SQLite, with a queue for the transactions of this process.

SQLite has one writer at a time. A waiting connection polls with growing pauses, up to 100 ms after the lock is free,
and meanwhile another may take it. Within this process a queue replaces the polling. Other processes, and single
statements outside transactions, wait as SQLite does.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

from errorkernel.platform import conf
from errorkernel.platform.sqlite.write_queue import Turns

_turns: defaultdict[str, Turns] = defaultdict(Turns)
"""By the file of the database."""


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Raises OperationalError where a command finds no database: connecting would create an empty one."""
        if conf.serves_single_command() and not Path(str(self.settings_dict["NAME"])).exists():
            raise OperationalError("unable to open database file")
        return super().get_new_connection(conn_params)

    _turn: Turns | None = None
    """Set during a transaction of this connection."""

    def _start_transaction_under_autocommit(self) -> None:
        turns = _turns[str(self.settings_dict["NAME"])]
        if not turns.take(self.settings_dict["OPTIONS"].get("timeout", 5.0)):
            raise OperationalError("database is locked")
        self._turn = turns
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._give_back()
            raise

    def _commit(self) -> Any:
        done = super()._commit()  # type: ignore[misc]
        self._give_back()
        return done

    def _rollback(self) -> Any:
        try:
            return super()._rollback()  # type: ignore[misc]
        finally:
            self._give_back()

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            self._give_back()

    def _give_back(self) -> None:
        if self._turn:
            turn, self._turn = self._turn, None
            turn.give_back()
