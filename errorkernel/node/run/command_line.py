"""Shows a command line without secrets.

Everybody on the node can read it in the list of processes; an event carries it further. A secret is found anywhere in
an argument (``sh -c`` has a whole script in one): by the name before it (``--password x``, ``PGPASSWORD=x``,
``?token=x``, ``Authorization: Bearer x``), by its place (the password in an address, ``-u user:x``, ``mysql -px``) or
by its form (``AKIA…``, ``ghp_…``, a private key). Too much is hidden rather than too little. A secret without any of
these marks is not recognised: for those, leave all arguments out.
"""

import os
import re
import shlex
from collections.abc import Sequence

HIDDEN = "…"
ARGUMENT_CHARS = 2000
"""Characters of an argument that are read. More than a tag holds."""
_MARK = "_steward_hidden_"
"""Stands for a secret until the argument has been quoted: it needs no quotes."""

_NAME = (
    r"[\w.-]*(?:password|passwd|passphrase|passwort|secret|token(?!i[sz]|s(?![\w]))|bearer|api[-_.]?key|access[-_.]?key|account[-_.]?key"
    r"|private[-_.]?key|encryption[-_.]?key|master[-_.]?key|credential|signature)[\w.-]*"
    r"|(?:[\w.-]*[-_.])?(?:pass|passw|passin|passout|pwd|pw|auth|jwt|sas|sig|otp|pin|cookie|sessionid|psk|dsn)"
    r"|pgpass|mysql_pwd|[\w.-]*_pat"
)
_WORD = r"""(?:\\?"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?$)|'[^']*(?:'|$)|\$?[^\s"'&;|<>(){}\[\],`\\]+)"""
"""A value in a script, a query or JSON; quoted or not."""
_LINE = r"[^\r\n\"'`]+"

_WITH_VALUE = re.compile(rf"(-{{0,2}}(?:{_NAME})=).+", re.IGNORECASE | re.DOTALL)
_BEFORE_VALUE = re.compile(rf"--?(?:{_NAME})", re.IGNORECASE)
_LOGIN = re.compile(r"(?:-[a-zA-Z]*[uU]|--user|--proxy-user|--userpwd|--login|--creds)", re.ASCII)
_USER_WITH_PASSWORD = re.compile(r"((?:-[uU]|--[a-z-]+=)?[^\s:/'\"%]+[:%])(?!//).+", re.DOTALL)
_SCRIPT = re.compile(r"-[a-zA-Z]*[ce]")
"""After this option the argument is a script (``sh -lc``, ``perl -e``): there, a value ends with its word."""

_SHORT_OPTIONS = {
    "p": (
        r"mysql\w*|mariadb[\w-]*|sshpass|mongo\w*|docker|podman|helm|ipmitool|7z\w*|az|rabbitmqadmin|cqlsh|mosquitto_\w+"
    ),
    "P": r"mosquitto_\w+|zip|unzip|sqlcmd|bcp|isql|tsql|ipmitool",
    "a": r"redis-cli|valkey-cli|https?|xh",
    "w": r"ldap\w+",
    "A": r"snmp\w+",
    "X": r"snmp\w+",
}
"""Option letter → programs that take a password with it, attached (``-px``) or as the next word."""
_PROGRAMS = {letter: re.compile(names) for letter, names in _SHORT_OPTIONS.items()}
_PORT_OR_PATH = r"(?!\d+:\d|\d{1,5}(?![^\s])|/)"
"""``docker run -p 8080:80``, ``mkdir -p /a`` and ``mongo -p 27017`` are no passwords."""

_IN_TEXT = tuple(
    (re.compile(pattern, re.IGNORECASE if ignore_case else 0), rf"\g<1>{_MARK}")
    for pattern, ignore_case in (
        (r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?:-----END [A-Z ]*-----|$)", False),
        (rf"\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:[a-z][\w-]*\s+(?=\S))?){_LINE}", True),
        (rf"\b((?:set-)?cookie2?\s*:\s*){_LINE}", True),
        (r"\b((?:bearer|basic|digest|negotiate)\s+)[\w.~+/=-]{6,}", True),
        (r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^/\s:@'\"]*:)[^/\s'\"]+(?=@)", True),
        (r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://)(?=[^/@]*\d)[^/\s:@'\"]{12,}(?=@)", True),
        (rf"((?<![\w.-])(?:{_NAME})\\?[\"']?\s?(?:=>?|:(?!//))\s?){_WORD}", True),
        (rf"((?<![\w.-])--?(?:{_NAME})[ \t]+(?!-)){_WORD}", True),
        (rf"((?<![\w.-])(?:-u|-U|--user|--proxy-user|--userpwd)[ \t=]*[\"']?[^\s:/'\"%]+[:%](?!//)){_WORD}", False),
        (r"(\bmachine\s+\S+\s+login\s+\S+\s+password\s+)\S+", True),
        (r"(hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/|/bot(?=\d+:))[\w/:-]+", True),
        (r"([?&](?:key|code|sv|auth|access|s)=)[^&\s'\"]+", True),
        (
            r"(?<![A-Za-z0-9_-])((?:AKIA|ASIA|AGPA|AROA)|gh[oprsu]_|github_pat_|glpat-|gl[a-z]{2,5}-|xox[a-z]-|sk-|[sr]k_(?:live|test)_"
            r"|AIza|npm_|pypi-|hvs\.|dop_v1_|shpat_|SG\.|ya29\.|AGE-SECRET-KEY-|eyJ(?=[\w-]+\.[\w-]+))[\w.+/=-]{12,}",
            False,
        ),
        (r"(?<![A-Za-z0-9])(S[UAONC])[A-Z2-7]{54,60}(?![A-Za-z0-9])", False),
        *(
            (rf"((?<![\w-])(?:{names})\b(?!:)[^|;&\n]*?\s-{letter}[ \t]*){_PORT_OR_PATH}{_WORD}", False)
            for letter, names in _SHORT_OPTIONS.items()
        ),
    )
)
"""Tried in this order at the whole text of an argument; group 1 stays."""


def show(argv: Sequence[str], *, arguments: bool = True) -> str:
    """As it is typed into a shell. ``arguments`` False: only the name of the program."""
    if not arguments:
        return shlex.quote(argv[0]) + (f" {HIDDEN}" if len(argv) > 1 else "")
    letters: set[str] = set()
    words: list[str] = []
    former = ""
    for whole in argv:
        argument = whole[:ARGUMENT_CHARS]
        words.append(shlex.quote(_without_secret(former, argument, letters)).replace(_MARK, HIDDEN))
        name = os.path.basename(argument)
        letters |= {letter for letter, programs in _PROGRAMS.items() if programs.fullmatch(name)}
        former = argument if words[1:] else ""
    return " ".join(words)


def _without_secret(former: str, argument: str, letters: set[str]) -> str:
    """``former``: the argument before. ``letters``: short options that take a password here."""
    if _BEFORE_VALUE.fullmatch(former) and not argument.startswith("-"):
        return _MARK
    if former[:1] == "-" and former[1:] in letters and re.match(_PORT_OR_PATH, argument):
        return _MARK
    if argument[:1] == "-" and argument[1:2] in letters and re.match(rf"{_PORT_OR_PATH}.", argument[2:]):
        return argument[:2] + _MARK
    if (_LOGIN.fullmatch(former) or re.match(r"-[uU].|--(?:proxy-)?user=", argument)) and (
        login := _USER_WITH_PASSWORD.fullmatch(argument)
    ):
        return login[1] + _MARK
    if not _SCRIPT.fullmatch(former) and (found := _WITH_VALUE.fullmatch(argument)):
        return found[1] + _MARK
    for pattern, shown in _IN_TEXT:
        argument = pattern.sub(shown, argument)
    return argument
