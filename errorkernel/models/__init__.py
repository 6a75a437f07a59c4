"""What the product remembers. The database is the truth; every change of it goes through ``errorkernel.store``.

Times that a node's clock gave are called ``occurred_at``; all others are ours. Ids that nodes give are UUIDs.
"""

from errorkernel.models.access import ApiToken
from errorkernel.models.bulk import BulkAnswer, BulkItem
from errorkernel.models.fields import Sequence
from errorkernel.models.fleet import Incarnation, Node, Process, RefusedAttempt
from errorkernel.models.history import AuditEntry
from errorkernel.models.problems import ProblemComment
from errorkernel.models.questions import DeadLetter, Decision, Incident, Requeue
from errorkernel.models.reports import ErrorEvent, ErrorState, Problem, QuarantinedMessage
from errorkernel.models.rules import Rule
from errorkernel.models.running import BrokerStream, Counter, KernelHeartbeat, Outbox, StewardArrival
from errorkernel.models.steward_actions import StewardAction, StewardLine
from errorkernel.models.tallies import HourCount, MinuteCount, Tally
from errorkernel.models.views import SavedView

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
