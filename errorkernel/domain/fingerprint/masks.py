"""A text with everything masked that differs between two occurrences of one cause.

Ids, times, addresses, paths, numbers, and the values that users typed become ``<id>``, ``<time>`` and so on. What names
a cause stays: words, names of code and columns, and numbers that are codes (``kept_numbers``).

Three rules keep this safe on hostile input. Only a window takes part: the first and the last 400 words, up to 4 KiB
each. Of the words that may need a mask, the first and the last that fit into a budget are looked at; those between them
are left out. And no expression can backtrack over more than one word: runs are possessive, quoted parts are bounded.
"""

import re
import unicodedata
from bisect import bisect
from functools import lru_cache
from itertools import accumulate

from errorkernel.domain.fingerprint import identifiers, kept_numbers

WINDOW_CHARS = 4096
"""How much of the beginning, and of the end, of a text takes part."""
WINDOW_WORDS = 400
_ROUND = 50

_SHAPE_CHARS = 1000
_WORD_CHARS = 800
_PARTS = re.compile(r"[^,;&|]*+[,;&|]|[^,;&|]++")
_QUOTED_PARTS = 100
_END_WORDS = 60
_END_PARTS = 25
_BUDGET_CHARS = 1000
"""At each end. A letter of a hostile word costs up to 1.9 µs, so a text costs less than 5 ms."""
_SAME_DIGIT = str.maketrans("023456789", "1" * 9)

_ANSI = re.compile(r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)?|[@-Z\\^_])")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]++")
_GROUPED = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}+"
_MONTHS = frozenset({"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"})
_MONTH_IN_WORD = re.compile(rf"\d[/-]{_MONTH}[/-]\d|{_MONTH}[/-]\d")
_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:\ ?[AaPp][Mm](?![A-Za-z]))?"
_NAMED_DATE = re.compile(
    rf"""
    (?<![A-Za-z0-9])
    (?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{{0,6}}+,?\ )?
    (?:{_MONTH}\ {{1,2}}\d{{1,2}}(?:st|nd|rd|th)?(?!\d) | \d{{1,2}}[ /-]{_MONTH}(?=[ /-]\d))
    (?:,?[ /-](?:\d{{4}}|\d\d(?=\ \d\d:))(?!\d))?
    (?:(?:,?\ |T|:){_CLOCK})?
    (?:\ (?:[A-Z]{{3,4}}(?=\ \d{{4}}(?!\d))|GMT|UTC|CES?T|[ECMP][SD]T|[+-]\d{{4}})(?![A-Za-z0-9]))?
    (?:\ \d{{4}}(?!\d))?
    """,
    re.VERBOSE,
)
_NOT_A_NUMBER = re.compile(r"(?<![\w'\"])[+-]?(?:nan|NaN|inf|Inf|infinity|Infinity)(?![\w'\"])")

_QUOTED = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
        '([^'\n]{0,256})' | "([^"\n]{0,256})" | `([^`'\n]{1,256})[`']
      | [\u2018\u201c\u201e]([^\u2018-\u201f\n]{1,256})[\u2018-\u201f]
      | \u00ab([^\u00ab\u00bb\n]{1,256})\u00bb
      | [\u300c\u300e]([^\u300c-\u300f\n]{1,256})[\u300d\u300f]
    )(?![A-Za-z0-9])
    """,
    re.VERBOSE,
)
_QUOTED_PATH = re.compile(
    r"(?:\.{0,2}|~)[/\\]\S|[A-Za-z]:[/\\]|[^\s/\\:{}\"<>]{1,80}+[/\\][^/\\]*+(?:[/\\][^/\\]*+)*\.[A-Za-z]\w{0,7}\Z"
)
_FILE_NAME = re.compile(
    r"""
    [^/\\:{}"'<>|]{1,120}\.(?:
        png|jpe?g|gif|tiff?|bmp|webp|svg|ico|heic|mp[34]|mov|avi|mkv|wav|flac|ogg|pdf|docx?|xlsx?|pptx?|odt|ods
      | csv|tsv|txt|log|md|json|ndjson|jsonl|xml|ya?ml|toml|ini|conf|cfg|env|zip|gz|tgz|bz2|xz|zst|7z|rar|tar|iso|img
      | bin|dat|db|sqlite3?|sql|bak|tmp|lock|pid|sock|parquet|avro|orc|h5|nc|npz|npy|pem|crt|key|csr|p12|eml|part|swp
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)
USER_WORDS = frozenset({
    "user", "username", "customer", "account", "login", "email", "mailbox", "member", "tenant", "subscriber",
    "value", "literal", "string", "input", "entry", "token", "base", "float", "int", "integer", "decimal",
    "number", "date", "time", "datetime", "timestamp", "order", "invoice", "session", "job", "task", "item",
    "record", "document", "message", "id", "uuid", "person", "recipient", "sender", "address",
    "phone", "coupon", "sku", "product", "host", "hostname", "container", "pod", "workspace", "channel",
    "room", "guest", "device", "got", "received",
})  # fmt: skip
"""A quoted text after one of these was typed by somebody, or is data: ``user 'alice'``, ``invalid value "x"``. After
other words it names something in the program (``column "email"``, ``attribute 'ship'``), and stays."""
_BEFORE_CHARS = 32
_POSTGRES_KEY = re.compile(r"\)=\(([^()\n]{1,256})\)")

# Most words of an error text are plain words. Only those that hold a digit, a slash or an @ can need a mask, and
# finding that out costs a fraction of trying every mask at every letter.
_SUSPECT = re.compile(r"[\d/\\@]|::")
_CJK = r"\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_STOP = r"\s/\\:'\"<>|,;()\[\]{}" + _CJK
_ENDS = r"(?![A-Za-z0-9_-])"
_UNIT = (
    r"(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|secs?|mins?|hrs?|st|nd|rd|th|x|px|[kKMGTPEmgtp]?i?[Bb](?:/s|ps)?"
    r"|[KMGTPE]i|[kKMGTPE]|bytes|[kMG]?Hz|\u00b0?C|%)"
)
# One alternation, tried left to right at each place, so that the most specific mask wins and a word is scanned once.
_MASKS = re.compile(
    rf"""
    (?=[!-~\d])(?:
      (?=[A-Za-z\d])(?<![A-Za-z0-9])(?:
          (?P<uuid>(?=[0-9a-fA-F]{{8}}-)[0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}(?![0-9A-Za-z]))
        | (?=[A-Za-z])(?:
              (?P<drive>[A-Za-z]:(?:[\\/][^{_STOP}]++)++)
            | (?P<token>eyJ[\w-]{{5,}}+\.[\w-]++(?:\.[\w-]*+)?)
            | (?P<url>[a-zA-Z][a-zA-Z0-9+.-]{{1,15}}+://[^\s'"<>|,;()\[\]{{}}`{_CJK}]++)
          )
        | (?=\d)(?:
              (?P<time>\d{{4}}[-/]\d\d[-/]\d\d(?:[T_]?\d\d:\d\d(?::\d\d(?:[.,]\d++)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\w])
                | (?:\d{{1,3}}\.)?\d{{1,2}}:\d\d:\d\d(?:[.,]\d++)?(?:Z|[+-]\d\d:?\d\d)?(?!\w))
            | (?P<addr>\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?::\d{{1,5}}|/\d{{1,2}})?(?![\w.]))
          )
        | (?P<mac>(?:[0-9a-fA-F]{{2}}[:-]){{5}}[0-9a-fA-F]{{2}}(?![0-9A-Za-z])
            | (?:[0-9a-fA-F]{{4}}\.){{2}}[0-9a-fA-F]{{4}}(?![0-9A-Za-z.]))
        | (?<![_.@~+-])(?:
              (?P<mail>[\w.+-]{{1,64}}+@[\w-]++(?:\.[\w-]++)++)
            | (?P<relative>[A-Za-z0-9_.@~+-]++(?:[/\\][A-Za-z0-9_.@~+-]++)++)
          )
      )
    | (?P<colons>(?=[0-9a-fA-F:])(?<![\w:])[0-9a-fA-F]{{0,4}}+:[0-9a-fA-F]{{0,4}}+:[0-9a-fA-F:]*+(?!\w))
    | (?P<float>(?=[\d+-])(?<![A-Za-z0-9_.)])(?<!\d[,'\u2019])
        [+-]?\d[\d_]*+(?:[.,'\u2019]\d++)*+(?:[eE][+-]?\d++)?{_UNIT}?{_ENDS})
    | (?P<span>(?=\d)(?<![A-Za-z0-9_])(?:\d++(?:\.\d++)?(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|w))++{_ENDS})
    | (?P<identity>(?=@)(?<=[\w\]\[>;])@[0-9a-f]{{1,8}}(?![0-9A-Za-z]))
    | (?P<run>(?=[A-Za-z0-9])(?<![A-Za-z0-9])[A-Za-z0-9]++(?:[-_]++[A-Za-z0-9]++)*+)
    | (?P<path>(?=[.~/\\])(?<![A-Za-z0-9_/<.\\])(?:\.{{1,2}}|~|\.[\w-]++)?(?:[/\\]++[^{_STOP}]++)++[/\\]?)
    | (?P<host>\[(?=[0-9a-fA-F]*+:)[0-9a-fA-F:]{{2,39}}\](?::\d{{1,5}})?)
    | (?P<n>\d++)
    )
    """,
    re.VERBOSE,
)
_PLAIN = re.compile(
    rf"""
      (?P<float>(?<![A-Za-z0-9_)])[+-]?\d[\d_]*+(?:[,'\u2019]\d++)*+(?:[eE][+-]?\d++)?{_UNIT}?{_ENDS})
    | (?P<span>(?=\d)(?<![A-Za-z0-9_])(?:\d++(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d|w))++(?![A-Za-z0-9_-]))
    | (?P<run>(?=[A-Za-z0-9])(?<![A-Za-z0-9])[A-Za-z0-9]++(?:[-_]++[A-Za-z0-9]++)*+)
    | (?P<n>\d++)
    """,
    re.VERBOSE,
)
"""``_MASKS`` for words without the signs that the other groups need: most words with a number are such."""
_SIGNS = re.compile(r"[/\\@:.\[](?!\Z)")
_MAC_OR_UUID_CHARS = 14
_IPV6_CHARS = 39
_BRACKETS = "()[]{}<>,.:;#='\""
_SHOWN = {
    "url": "<url>", "time": "<time>", "mail": "<mail>", "uuid": "<id>", "token": "<id>", "identity": "@<id>",
    "addr": "<addr>", "mac": "<addr>", "host": "<addr>", "path": "<path>", "drive": "<path>",
    "n": "<n>", "float": "<n>", "span": "<n>",
}  # fmt: skip
"""Groups that are one thing to a reader."""
_QUOTED_RELATIVE = re.compile(r"[^\s/\\:{}\"<>]{1,80}+[/\\]")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}\Z")
_UNIT_WORDS = frozenset({
    "ns", "us", "ms", "s", "sec", "secs", "second", "seconds", "min", "mins", "minute", "minutes", "h", "hr",
    "hrs", "hour", "hours", "d", "day", "days", "week", "weeks", "b", "kb", "mb", "gb", "tb", "pb", "kib",
    "mib", "gib", "tib", "byte", "bytes", "octet", "octets", "%", "percent",
})  # fmt: skip
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_AND_CLOCK = re.compile(r"<time> (?:<time>|<n>:<n>(?!\S))")
_LEFT_OUT = re.compile("…(?: …)++")
_DOTTED = re.compile(r"<n>(?:\.<n>)++")
_LOGIN = re.compile(r"(?:(?<=\buser )|(?<=\bpassword for )|(?<=\bpublickey for ))\S{1,64}+(?= from <addr>)")
"""The user name of a refused or accepted login, as sshd writes it."""
_LIST = re.compile(r"<n>(?:[,;] ?<n>)++")


def mask(text: str) -> str:
    """``text`` with ids, times, addresses, paths, numbers and users' values masked, and white space folded."""
    text = window(text)
    if len(text) <= _SHAPE_CHARS and "0x" not in text and "0X" not in text:
        masked = _of_shape(text.translate(_SAME_DIGIT))
        if masked is not None:
            return masked
    words, suspects = _prepared(text)
    return _by_words(words, suspects)


@lru_cache(maxsize=1024)
def _of_shape(shape: str) -> str | None:
    """What all texts become that differ from ``shape`` in digits alone; None where a digit may decide.

    A mask asks whether a letter is a digit and not which, except in ``0x``; only numbers that are kept are looked at.
    A failing process repeats its text with other numbers: found here, a text costs a tenth.
    """
    words, suspects = _prepared(shape)
    for index in suspects:
        if kept_numbers.spans(words, index):
            return None
    return _by_words(words, suspects)


def _prepared(text: str) -> tuple[list[str], list[int]]:
    """The words of a text once what spans several words is masked, and which of them may need a mask."""
    if not text.isascii():
        text = _GROUPED.sub("", _INVISIBLE.sub("", unicodedata.normalize("NFC", text)))
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if "'" in text or '"' in text or "`" in text or not text.isascii():
        text = _QUOTED.sub(_unquoted, text, _QUOTED_PARTS)
    if ")=(" in text:
        text = _POSTGRES_KEY.sub(")=(<value>)", text)
    if "nan" in text or "NaN" in text or " inf" in text or "-inf" in text or "Infinity" in text:
        text = _NOT_A_NUMBER.sub("<n>", text)
    words = text.split()
    suspects = _suspects(words)
    # White space is folded by the split, so dates of several words are looked for in the text.
    if suspects and _has_month(words, suspects):
        words = _NAMED_DATE.sub("<time>", text).split()
        suspects = _suspects(words)
    return words, suspects


def folded(masked: str) -> str:
    """What of a masked text makes its key: an id may be made of digits alone, so ids and numbers are one thing."""
    text = masked.replace("<id>", "<n>")
    return _DOTTED.sub("<n>", text) if "<n>.<n>" in text else text


def window(text: str) -> str:
    """The part of ``text`` that takes part: its first and last words, up to 400 and 4 KiB each."""
    if len(text) <= 2 * WINDOW_WORDS:
        return text
    if len(text) <= 2 * WINDOW_CHARS:
        words = text.split()
        if len(words) <= 2 * WINDOW_WORDS:
            return text
        return " ".join([*words[:WINDOW_WORDS], "…", *words[-WINDOW_WORDS:]])
    head, tail = text[:WINDOW_CHARS].split()[:-1], text[-WINDOW_CHARS:].split()[1:]
    if not head or not tail:
        return f"{text[:WINDOW_CHARS]} … {text[-WINDOW_CHARS:]}"
    return " ".join([*head[: _even(len(head))], "…", *tail[-_even(len(tail)) :]])


def _even(words: int) -> int:
    """How many of so many words take part. Words are counted, not letters, and the count is rounded down: a longer
    number at the beginning of a text must not shift where it is cut."""
    return min(WINDOW_WORDS, words // _ROUND * _ROUND or words)


def _has_month(words: list[str], suspects: list[int]) -> bool:
    """Whether a number stands beside a word that begins as a month does."""
    for index in suspects:
        word = words[index]
        if words[index - 1][:3] in _MONTHS or (index + 1 < len(words) and words[index + 1][:3] in _MONTHS):
            return True
        if ("/" in word or "-" in word) and _MONTH_IN_WORD.search(word):
            return True
    return False


def _suspects(words: list[str]) -> list[int]:
    # isalpha costs a tenth of a search, and settles most words of a sentence.
    return [index for index, word in enumerate(words) if not word.isalpha() and _SUSPECT.search(word)]


def _by_words(words: list[str], suspects: list[int]) -> str:
    if not suspects:
        return _LIST.sub("<n>", " ".join(words)) if "<n>" in words else " ".join(words)
    shown = words.copy()
    if len(suspects) > 2 * _END_WORDS or sum(map(len, words)) > 2 * _BUDGET_CHARS:
        suspects = _within_budget(words, suspects, shown)
    for index in suspects:
        word = shown[index] = _word(words, index)
        if word[-1] != ">":
            continue
        if word[:3] == "<n>" and index and shown[index - 1] == "<n>":  # 1 234 567
            shown[index - 1] = ""
        if word.endswith("<n>") and index + 1 < len(words):
            unit = words[index + 1].rstrip(".,;:)]")
            if unit.lower() in _UNIT_WORDS:  # 1.5 GB and 900 MB, 1 second and 30 seconds
                shown[index] = word + words[index + 1][len(unit) :]
                shown[index + 1] = ""
    text = " ".join(filter(None, shown) if "" in shown else shown)
    if "… …" in text:
        text = _LEFT_OUT.sub("…", text)
    if "<time> <" in text:  # 2026-11-30 18:00 and 2026-11-30T18:00:00Z
        text = _DATE_AND_CLOCK.sub("<time>", text)
    if "from <addr>" in text:
        text = _LOGIN.sub("<value>", text)
    return _LIST.sub("<n>", text) if "<n>," in text else text


def _within_budget(words: list[str], suspects: list[int], shown: list[str]) -> list[int]:
    """The first and the last of ``suspects``; in ``shown`` the others become ``…``."""
    # Words are counted first, and letters in steps of 16: a longer number must not decide which words take part.
    if len(suspects) > 2 * _END_WORDS:
        first, last = _END_WORDS, len(suspects) - _END_WORDS
    else:
        first = last = len(suspects) // 2
    for index in suspects:
        if len(words[index]) > _WORD_CHARS:
            words[index] = _shortened(words[index])
    costs = [len(words[index]) // 16 * 16 + 16 for index in suspects]
    first = min(first, bisect(list(accumulate(costs)), _BUDGET_CHARS))
    last = max(last, len(costs) - bisect(list(accumulate(reversed(costs))), _BUDGET_CHARS))
    for index in suspects[first:last]:
        shown[index] = "…"
    return suspects[:first] + suspects[last:]


def _shortened(word: str) -> str:
    """The beginning and the end of a long word, cut between its parts, as a window is cut between words."""
    parts = _PARTS.findall(word)
    if len(parts) > 2 * _END_PARTS:
        word = f"{''.join(parts[:_END_PARTS])}…{''.join(parts[-_END_PARTS:])}"
    return word if len(word) <= _WORD_CHARS else f"{word[: _WORD_CHARS // 2]}…{word[-_WORD_CHARS // 2 :]}"


def _word(words: list[str], index: int) -> str:
    word = words[index]
    kept = kept_numbers.spans(words, index)
    if not kept:
        if len(word) < _MAC_OR_UUID_CHARS and not _SIGNS.search(word):
            bare = word.strip(_BRACKETS)
            if bare.isdigit():
                return word.replace(bare, "<n>", 1)
            return word.replace(bare, "<time>", 1) if _DATE.fullmatch(bare) else _PLAIN.sub(_name, word)
        return _MASKS.sub(_name, word)
    parts, at = [], 0
    for begin, end in kept:
        if begin >= at:
            parts += [_MASKS.sub(_name, word[at:begin]), word[begin:end]]
            at = end
    return "".join(parts) + _MASKS.sub(_name, word[at:])


def _name(found: re.Match[str]) -> str:
    group = found.lastgroup
    if group == "run":
        return identifiers.masked(found[0])
    if group == "relative":
        return _relative(found[0])
    if group == "colons":
        return _colons(found[0])
    return _SHOWN[group]  # type: ignore[index]  # one of the groups has matched


def _colons(run: str) -> str:
    """``fe80::1`` is an address; ``1:2:3`` and ``a::b`` are numbers and names."""
    body = run.rstrip(":") if run.endswith(":") and not run.endswith("::") else run
    groups = body.split(":")
    is_address = ("::" in body and any(map(str.isdigit, body))) or len(groups) in (4, 5, 6, 7, 8)
    if is_address and len(body) <= _IPV6_CHARS and all(len(group) <= 4 for group in groups):
        return "<addr>" + run[len(body) :]
    return ":".join([identifiers.masked(group) if group else "" for group in run.split(":")])


def _relative(path: str) -> str:
    """``data/a.tif`` is a path; ``and/or``, ``text/html`` and ``12/30`` are words and numbers."""
    is_number = path.replace(".", "").replace("/", "").isdigit()
    if path[0] in ".~" or (_EXTENSION.search(path) and not is_number):
        return "<path>"
    separator = "/" if "/" in path else "\\"
    return separator.join([_MASKS.sub(_name, part) for part in path.split(separator)])


def _unquoted(found: re.Match[str]) -> str:
    whole = found[0]
    content = whole[1:-1]
    if _is_path(content):
        return f"{whole[0]}<path>{whole[-1]}"
    begin = found.start()
    before = found.string[max(0, begin - _BEFORE_CHARS) : begin].rstrip(" \n:=(0123456789")
    if before[max(before.rfind(" "), before.rfind("\n")) + 1 :].lower() in USER_WORDS:
        return f"{whole[0]}<value>{whole[-1]}"
    return whole


def _is_path(content: str) -> bool:
    if _QUOTED_PATH.match(content):
        return True
    if "." not in content:
        return False
    if _FILE_NAME.fullmatch(content):
        return True
    return bool(_QUOTED_RELATIVE.match(content) and _EXTENSION.search(content))
