"""What several tables share: the key that we number ourselves, and words of a fixed choice."""

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
    """A primary key that we number ourselves. On SQLite it must be declared ``integer``, or the table keeps a second
    index beside its own order and every insert feeds both."""

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
