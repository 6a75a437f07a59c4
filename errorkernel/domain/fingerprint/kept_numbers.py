"""Numbers that name a cause, and so must not be masked: HTTP status, exit status, signal, errno, HRESULT, SQLSTATE.

They are recognised by the word in front of them. To teach a new one, add its word to ``STATUS_WORDS``.
"""

import re
from collections.abc import Sequence

STATUS_WORDS = frozenset({
    "http", "status", "code", "errno", "signal", "exit", "exited", "rc", "returncode", "exitcode",
    "errorcode", "statuscode", "httpcode", "httpstatus", "errcode", "retcode", "resultcode", "responsecode",
    "exitstatus", "hresult", "hr", "ntstatus", "sqlstate", "sqlcode", "smtp", "ftp", "stopcode", "bugcheck",
    "grpc", "alert",
})  # fmt: skip
"""A number after one of these is a cause: ``HTTP 404``, ``exit status 1``, ``statusCode: 503``, ``errno=28``."""
REPLY_WORDS = frozenset({
    "returned", "responded", "response", "answered", "replied", "received", "got", "respond",
})  # fmt: skip
"""A number from 100 to 599 after one of these is an HTTP status, unless it counts something (``returned 512 rows``)."""
_LINKS = frozenset({
    "is", "was", "with", "of", "a", "an", "the", "by", "value", "number", "to", "non", "zero", "from",
})  # fmt: skip
"""Words that may stand between the word and its number: ``exited with code 1``, ``status was 404``."""
_LINKED_WORDS = 3
_BEFORE_CHARS = 48
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_GAP = re.compile(r"(?:[\s:=#(\[\"'/]|\d|\.(?!\s))*\Z")
"""Characters between word and number: ``HTTP/1.1" 404``, ``[Errno 2]``. No comma, and no end of a sentence."""
_VALUE = re.compile(r"[#(\[\"'<]*(-?\d{1,5}|0[xX][0-9a-fA-F]{1,8})(?![\w%]|[.,:]\d)")
_SQLSTATE = re.compile(r"(?:sqlstate|SQLSTATE)\W{0,3}[0-9A-Z]{5}(?![0-9A-Za-z])")
_IN_WORD = re.compile(
    r"(?<![A-Za-z_.-])([A-Za-z][A-Za-z_.-]*+(?:/\d(?:\.\d)?)?)[\"']?[:=(\[]+[\"']?(-?\d{1,5}|0[xX][0-9a-fA-F]{1,8})(?![\w%]|[.,:]\d)"
)
_CODES = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:ORA|TNS|PLS|DPI|SP2|RMAN)-\d{4,5}|(?:TS|CS|LNK|MSB|NU|AADSTS|WSA|CA|BC|NETSDK)\d{4,6}|E\d{4}"
    r"|0[xX](?:80[01][0-9a-fA-F]|[cC]000)[0-9a-fA-F]{4})(?![A-Za-z0-9])"
)
"""Codes that tell by their form: Oracle, TypeScript, C#, MSBuild, rustc; HRESULT and NTSTATUS."""
_MAYBE = re.compile(r"[A-Za-z\d][\"']?[:=(\[]+[\"']?-?\d|[A-Z]-?\d{4}|0[xX][8cC]|(?i:sqlstate)")
"""Words without any of these hold no such number of their own."""
_ENDINGS = (*STATUS_WORDS, *REPLY_WORDS, *_LINKS, "error")
_LAST_LETTERS = frozenset(word[-2:] for word in _ENDINGS) | frozenset(word[-2:].upper() for word in _ENDINGS)
"""Settles most words for a fifth of what comparing them with all endings costs."""
_FIRST_CHARS = "0123456789-#([<\"'HFPXY"  # an SQLSTATE may begin with a letter
_GAP_CHARS = "0123456789./:=#([\"'"
_HTTP = range(100, 600)


def spans(words: Sequence[str], index: int) -> list[tuple[int, int]]:
    """The parts of ``words[index]`` that hold such a number, as (begin, end), in order.

    A number of as many ones is kept wherever the number is: 111 is a status where 404 is.
    """
    word = words[index]
    found = []
    if not word.isdigit() and _MAYBE.search(word):
        found = [part.span() for part in _CODES.finditer(word)] + [part.span() for part in _SQLSTATE.finditer(word)]
        found += [part.span(2) for part in _IN_WORD.finditer(word) if _is_status(part[1], part[2], "")]
    if index and word[0] in _FIRST_CHARS:
        before = words[index - 1].rstrip(_GAP_CHARS)
        if (before[-2:] in _LAST_LETTERS or before == "a") and before.lower().endswith(_ENDINGS):
            found += _first(words, index)
    return sorted(found) if len(found) > 1 else found


def _first(words: Sequence[str], index: int) -> list[tuple[int, int]]:
    """The number at the beginning of ``words[index]``, where the words before it name a status."""
    word = words[index]
    if words[index - 1].lower().endswith("sqlstate"):
        return [(0, len(word))]
    before = " ".join(words[max(0, index - _LINKED_WORDS) : index])[-_BEFORE_CHARS:]
    first = _VALUE.match(word)
    if first is None:
        return []
    following = words[index + 1] if index + 1 < len(words) and first.end() == len(word) else ""
    return [first.span(1)] if _is_status(before, first[1], following) else []


def _is_status(before: str, value: str, following: str) -> bool:
    names = list(_WORD.finditer(before))
    if not names or not _GAP.match(before, names[-1].end()):
        return False
    while names and names[-1][0].lower() in _LINKS:
        gap_ends = names.pop().start()
        if not names or before[names[-1].end() : gap_ends].strip(" :=_-"):
            return False
    if not names:
        return False
    name = names[-1][0].lower()
    if name in STATUS_WORDS:
        return True
    is_http = value.isdigit() and len(value) == 3 and int(value) in _HTTP and not following[:1].islower()
    if name == "error":
        # "error 1045 (28000)", "os error 2"; not "error: 5 files", and not a log's "ERROR 812 --- [main]"
        if not before[names[-1].end() :].strip(" =#"):
            return following != "---"
        return is_http and len(names) > 1 and names[-2][0].lower() in REPLY_WORDS  # "returned error: 404"
    return is_http and name in REPLY_WORDS
