"""What the console's scripts say. They have no catalogue of their own: each page brings these in its reader's language.

``{name}`` is filled in by the script. A pair is one thing and several, chosen by ``count``.
"""

from functools import cache

from django.utils import translation
from django.utils.html import json_script
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

ONE_AND_SEVERAL = (1, 2)


@cache
def script(language: str | None) -> SafeString:
    """The element with ``texts`` in this language, as every page carries it."""
    with translation.override(language):
        return json_script(texts(), "texts")


def texts() -> dict[str, str | list[str]]:
    """Every text of ``static/errorkernel/*.js``, in the active language."""
    return _frame() | _answers() | _lists()


def _frame() -> dict[str, str | list[str]]:
    return {
        "opening": _("connecting"),
        "live": _("live"),
        "lost": _("not connected"),
        "out": _("signed out"),
        "refused": _("not allowed"),
        "kernel": _("kernel {age}"),
        "kernel-unseen": _("kernel never seen"),
        "kernel-late": _("Kernel last seen {age} ago."),
        "kernel-never": _("No kernel has been seen yet."),
        "broker": _("broker ok"),
        "broker-away": _("broker away"),
        "broker-unknown": _("broker not known"),
        "nodes": [ngettext("{count} node", "{count} nodes", n) for n in ONE_AND_SEVERAL],
        "nodes-late": [ngettext("{nodes}, {count} late", "{nodes}, {count} late", n) for n in ONE_AND_SEVERAL],
        "nodes-gone": [ngettext("{nodes}, {count} gone", "{nodes}, {count} gone", n) for n in ONE_AND_SEVERAL],
        "nodes-missing": [
            ngettext("{count} node has not been heard from", "{count} nodes have not been heard from", n)
            for n in ONE_AND_SEVERAL
        ],
        "lag": [
            ngettext("{count} report still to store", "{count} reports still to store", n) for n in ONE_AND_SEVERAL
        ],
        "auto": _("auto"),
        "light": _("light"),
        "dark": _("dark"),
        "ago": _("{age} ago"),
        "in": _("in {age}"),
        "passed": _("passed {age} ago"),
    }


def _answers() -> dict[str, str | list[str]]:
    return {
        "reason": _("Reason (needed to kill)"),
        "reason-then-enter": _("Reason, then Enter to kill and restart"),
        "answer-401": _("Signed out: nothing was answered. Log in in another tab, then answer again here."),
        "answer-403": _("Nothing was answered: you may not, or your login has changed. Reload the page and try again."),
        "answer-404": _("Nothing was answered: this question is not known here any more."),
        "answer-failed": _("The server failed ({status}). Answer again: it counts once."),
        "answer-unsent": _("No connection: it is not known whether your answer arrived. Answer again: it counts once."),
        "answer-lost": _("Your {action} did not arrive and does not count: what stands here came first."),
        "waiting-now": [ngettext("{count} process waits", "{count} processes wait", n) for n in ONE_AND_SEVERAL],
        "sound-on": _("Sound on"),
        "sound-off": _("Sound off"),
        "notices-on": _("Notices on"),
        "notices-off": _("Notices off"),
        "notices-refused": _("Notices are refused by this browser"),
    }


def _lists() -> dict[str, str | list[str]]:
    return {
        "new": [ngettext("{count} new", "{count} new", n) for n in ONE_AND_SEVERAL],
        "skipped": [
            ngettext("… {count} more in this second", "… {count} more in this second", n) for n in ONE_AND_SEVERAL
        ],
        "show": _("show"),
        "pause": _("Pause"),
        "go-on": _("Go on"),
        "copied": _("Copied"),
        "marked": _("Marked"),
        "jump-failed": _("The server did not answer."),
        "tried": _("{count}× answered {how}"),
        "tried-nobody": _("{count}× answered by nobody"),
        "tried-back": _("looked back to {time}"),
        "tried-stopped": _("The dry run stopped ({status})."),
    }
