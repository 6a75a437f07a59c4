"""Shared parts of tables: keys that we number ourselves, and columns with fixed choices."""

from typing import TypeAlias

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from errorkernel.domain import incident_state
from errorkernel.domain.incarnations import Ending
from errorkernel.domain.problem_state import ProblemState
from errorkernel.domain.process_actions import ActionKind, RequestKind, RequestResult
from errorkernel.domain.rule_policy import RuleAction
from errorkernel.domain.values import Action, EventType, Level, OnDeadline


class Sequence(models.BigIntegerField):
    """A primary key that we number ourselves. SQLite needs the declaration ``integer``: otherwise the table has a
    second index, and each insert updates both."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


Words: TypeAlias = (
    type[EventType]
    | type[Level]
    | type[Action]
    | type[OnDeadline]
    | type[incident_state.State]
    | type[RuleAction]
    | type[Ending]
    | type[ActionKind]
    | type[RequestKind]
    | type[RequestResult]
    | type[ProblemState]
)


def choices(words: Words) -> list[tuple[str, str]]:
    return [(word.value, word.value) for word in words]


def in_choices(field: str, words: Words) -> Q:
    return Q(**{f"{field}__in": [word.value for word in words]})
