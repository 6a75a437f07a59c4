"""What the product remembers. The database is the truth; every change of it goes through ``errorkernel.store``.

Times that a node's clock gave are called ``occurred_at``; all others are ours. Ids that nodes give are UUIDs.
"""

from errorkernel.models.audit import AuditEntry
from errorkernel.models.bulk_decisions import BulkAnswer, BulkItem
from errorkernel.models.events import ErrorEvent, ErrorState, Problem, QuarantinedMessage
from errorkernel.models.fields import Sequence
from errorkernel.models.incidents import DeadLetter, Decision, Incident, Requeue
from errorkernel.models.nodes import Incarnation, Node, Process, RefusedAttempt
from errorkernel.models.platform import BrokerStream, Counter, KernelHeartbeat, Outbox, StewardArrival
from errorkernel.models.problem_comments import ProblemComment
from errorkernel.models.rollups import HourCount, MinuteCount, Tally
from errorkernel.models.rules import Rule
from errorkernel.models.saved_searches import SavedView
from errorkernel.models.steward import StewardAction, StewardLine
from errorkernel.models.tokens import ApiToken

__all__ = [
    "ApiToken",
    "AuditEntry",
    "BrokerStream",
    "BulkAnswer",
    "BulkItem",
    "Counter",
    "DeadLetter",
    "Decision",
    "ErrorEvent",
    "ErrorState",
    "HourCount",
    "Incarnation",
    "Incident",
    "KernelHeartbeat",
    "MinuteCount",
    "Node",
    "Outbox",
    "Problem",
    "ProblemComment",
    "Process",
    "QuarantinedMessage",
    "RefusedAttempt",
    "Requeue",
    "Rule",
    "SavedView",
    "Sequence",
    "StewardAction",
    "StewardArrival",
    "StewardLine",
    "Tally",
]
