"""Actions on a process of a node that speaks a foreign protocol: what is wanted, what is sent, and how it ended."""

from enum import StrEnum


class ActionKind(StrEnum):
    """What is wanted. ``kill`` is a stop and a start."""

    LIST = "list"
    STOP = "stop"
    START = "start"
    KILL = "kill"


class RequestKind(StrEnum):
    """One request to the node."""

    LIST = "list"
    STOP = "stop"
    START = "start"


class RequestResult(StrEnum):
    """What came back. ``absent``: the broker reports that nobody listens, so nothing was received. ``silent``: no reply
    in time, or no kernel was there to receive it. ``garbled``: a reply in an unknown form."""

    LISTED = "listed"
    STOPPED = "stopped"
    NOT_FOUND = "not_found"
    STARTED = "started"
    ABSENT = "absent"
    SILENT = "silent"
    GARBLED = "garbled"


class ActionOutcome(StrEnum):
    """``unclear``: it cannot be found out whether the action took effect; a person has to look."""

    DONE = "done"
    FAILED = "failed"
    UNCLEAR = "unclear"
