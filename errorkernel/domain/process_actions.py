"""Actions on a process of a node with a foreign protocol: kinds, requests, results and outcomes."""

from enum import StrEnum


class ActionKind(StrEnum):
    """``kill`` is a stop and a start."""

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
    """``absent``: the broker reports no subscriber, so the node received nothing. ``silent``: no reply in time, or no
    kernel to receive it. ``garbled``: a reply in an unknown form. ``several``: replies of more than one program."""

    LISTED = "listed"
    STOPPED = "stopped"
    NOT_FOUND = "not_found"
    STARTED = "started"
    ABSENT = "absent"
    SILENT = "silent"
    GARBLED = "garbled"
    SEVERAL = "several"


class ActionOutcome(StrEnum):
    """``unclear``: whether the action took effect is unknown; a person has to check."""

    DONE = "done"
    FAILED = "failed"
    UNCLEAR = "unclear"
