"""The methods of Steward and ctrl nodes: their names in both projects, which of them may be restarted, and which one a
text refers to.

A process of such a node is a subscriber of one method (or, in Steward, a publisher of one to another node). Steward
writes ``REQHttpGet`` where ctrl writes ``httpGet``, and the labels in texts differ from both in places. ``canonical``
maps all of them to ctrl's name; ``spelled`` is the inverse.
"""

import re

import msgspec

_STEWARD_SAFE = (
    "REQCliCommand", "REQCliCommandCont", "REQToConsole", "REQToFile", "REQToFileAppend", "REQToFileNACK",
    "REQCopySrc", "REQCopyDst", "REQCopyFileFrom", "REQCopyFileTo", "REQPing", "REQPong", "REQHttpGet",
    "REQHttpGetScheduled", "REQTailFile", "REQPublicKey",
)  # fmt: skip
_CTRL_SAFE = (
    "cliCommand", "cliCommandCont", "console", "file", "fileAppend", "copySrc", "copyDst", "httpGet", "tailFile",
    "publicKey", "portSrc", "PortDst",
)  # fmt: skip
SAFE_METHODS = frozenset(_STEWARD_SAFE + _CTRL_SAFE)
"""Subscribers that can be stopped and started again. Others have a part that a start does not restore, or are needed to
manage the node."""

_OTHER_NAMES = {
    "toFile": "file",
    "toFileAppend": "fileAppend",
    "toConsole": "console",
    "toTailFile": "tailFile",
    "keysRequestUpdate": "keysUpdateRequest",
    "opStopProcess": "opProcessStop",
    "aclAddAccessList": "aclAddCommand",
    "copyFile": "copyFileFrom",
    "keysDeliverUpdate": "keysUpdateReceive",
    "keysReceiveUpdate": "keysUpdateReceive",
}
"""Labels and names that differ from the canonical one by more than ``REQ`` and the case of a letter."""
_MISTAKEN = {"cliCommand": ("cliCommandCont",), "httpGet": ("httpGetScheduled",)}
"""Methods that report some of their errors with the label of another method."""
_NO_PROCESS = {"args", "timeout", "eventTextLogging", "subscriberHandler"}
"""Words after ``method`` in texts that are no method, or, as the writer of files, one of several."""

_LABEL = re.compile(
    r"\bmethod(REQ\w+|[A-Z]\w+)|\b(REQ[A-Z]\w+)|\b((?:copy|port)(?:Src|Dst))(?:Sub|Proc)\w*(?:Func|Handler)\b"
)
_NAMES_NONE = re.compile(
    r"(?:error|info): ?(?:subscriberHandler|spawnWorker|routeMessagesToProcess|readFolder|readSocket|fillBuffer"
    r"|OpProcessSt(?:art|op): no such|newSubjectAndMessage|message read)"
)
"""Texts of the node itself; the methods in them are those of requests."""
_SEARCHED_CHARS = 2000


class Guess(msgspec.Struct, frozen=True):
    """The method that a text probably refers to. ``certain``: the text contains the process itself, not a label."""

    method: str
    alternatives: tuple[str, ...] = ()
    certain: bool = False


def canonical(label: str) -> str:
    """``REQHttpGet``, ``HttpGet``, ``REQToFile.handler``, ``REQToFile/Append`` → ``httpGet``, ``file``."""
    name = re.split(r"[./]", label.removeprefix("REQ"), maxsplit=1)[0]
    name = f"sub{name[3:]}" if name.startswith("SUB") else name[:1].lower() + name[1:]
    return _OTHER_NAMES.get(name, name)


_STEWARD_OTHERS = ("REQKeysRequestUpdate", "REQKeysDeliverUpdate", "REQSUBCopySrc", "REQSUBCopyDst")
"""Names in Steward that differ from ctrl's by more than ``REQ`` and the case of a letter."""
_STEWARD_NAMES = {canonical(name): name for name in _STEWARD_SAFE + _STEWARD_OTHERS}
_CTRL_NAMES = {canonical(name): name for name in _CTRL_SAFE}


def spelled(name: str, req: bool) -> str:
    """A canonical name as nodes write it: with ``REQ`` (Steward, and ctrl until November 2024) or without."""
    if req:
        return _STEWARD_NAMES.get(name) or f"REQ{name[:1].upper()}{name[1:]}"
    return _CTRL_NAMES.get(name, name)


def guess(text: str, req: bool) -> Guess | None:
    """The process that a text is about, from the labels in it. None when there is no label of a method."""
    if _NAMES_NONE.match(text):
        return None
    # A printed message is the request, not the process that failed.
    for found in _LABEL.finditer(text[:_SEARCHED_CHARS].partition("{{} ")[0]):
        name = canonical(found.group(1) or found.group(2) or found.group(3))
        if name not in _NO_PROCESS and not name.startswith("sub"):
            others = tuple(spelled(other, req) for other in _MISTAKEN.get(name, ()))
            return Guess(spelled(name, req), others)
    return None
