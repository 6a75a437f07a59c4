"""Shows a command line without secrets.

Everybody on the node can read it in the list of processes; an event carries it further. Plain secrets are left out: the
value of an option or variable whose name says so, and the password in an address. Other secrets (``-pSECRET``) are not
recognised: for those, leave all arguments out.
"""

import re
import shlex
from collections.abc import Sequence

HIDDEN = "…"
_NAME = r"[\w.-]*(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key|credential)[\w.-]*"
_WITH_VALUE = re.compile(rf"(-{{0,2}}{_NAME}=).+", re.IGNORECASE | re.DOTALL)
_BEFORE_VALUE = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)", re.IGNORECASE)


def show(argv: Sequence[str], *, arguments: bool = True) -> str:
    """As it is typed into a shell. ``arguments`` False: only the name of the program."""
    if not arguments:
        return shlex.quote(argv[0]) + (f" {HIDDEN}" if len(argv) > 1 else "")
    words: list[str] = []
    hide = False
    for argument in argv:
        if hide and not argument.startswith("-"):
            words.append(HIDDEN)
            hide = False
            continue
        hide = bool(words) and bool(_BEFORE_VALUE.fullmatch(argument))
        words.append(_without_secret(argument))
    return " ".join(words)


def _without_secret(argument: str) -> str:
    if found := _WITH_VALUE.fullmatch(argument):
        return shlex.quote(found[1]).strip("'") + HIDDEN
    # Quoted first: the sign that replaces a password needs no quotes.
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}", shlex.quote(argument))
