"""The database tables. The database is authoritative; every change of it goes through ``errorkernel.store``.

Times that a node's clock gave are called ``occurred_at``; all others are ours. Ids that nodes give are UUIDs.
"""

from errorkernel.models.audit import AuditEntry
from errorkernel.models.bulk_decisions import BulkDecision, BulkDecisionItem
from errorkernel.models.comments import Comment
from errorkernel.models.events import ErrorEvent, ErrorState, Problem, RejectedEvent
from errorkernel.models.fields import Sequence
from errorkernel.models.incidents import DeadLetter, Decision, Incident, Requeue
from errorkernel.models.nodes import AccessDenial, Incarnation, Node, Process
from errorkernel.models.original_records import OriginalRecord
from errorkernel.models.platform import BrokerStream, Counter, KernelClock, KernelHeartbeat, Outbox, WebHeartbeat
from errorkernel.models.process_actions import ProcessAction, ProcessActionRequest
from errorkernel.models.rollups import EventRollup, HourRollup, MinuteRollup
from errorkernel.models.rules import Rule
from errorkernel.models.saved_searches import SavedSearch
from errorkernel.models.tokens import ApiToken, RepeatableRequest
from errorkernel.models.unnumbered_messages import UnnumberedMessage

__all__ = [
    "AccessDenial",
    "ApiToken",
    "AuditEntry",
    "BrokerStream",
    "BulkDecision",
    "BulkDecisionItem",
    "Comment",
    "Counter",
    "DeadLetter",
    "Decision",
    "ErrorEvent",
    "ErrorState",
    "EventRollup",
    "HourRollup",
    "Incarnation",
    "Incident",
    "KernelClock",
    "KernelHeartbeat",
    "MinuteRollup",
    "Node",
    "OriginalRecord",
    "Outbox",
    "Problem",
    "Process",
    "ProcessAction",
    "ProcessActionRequest",
    "RejectedEvent",
    "RepeatableRequest",
    "Requeue",
    "Rule",
    "SavedSearch",
    "Sequence",
    "UnnumberedMessage",
    "WebHeartbeat",
]
