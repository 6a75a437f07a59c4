"""The texts of the console's scripts. Scripts have no catalogue: each page contains these texts in the user's language.

``{name}`` is filled in by the script. A pair is singular and plural, chosen by ``count``.
"""

from functools import cache

from django.utils import translation
from django.utils.html import json_script
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

NUMBERS = (1, 2)


@cache
def script(language: str | None) -> SafeString:
    """The element with ``texts`` in this language, as every page carries it."""
    with translation.override(language):
        return json_script(texts(), "texts")


def texts() -> dict[str, str | list[str]]:
    """Every text of ``static/errorkernel/*.js``, in the active language."""
    return _frame() | _decisions() | _lists()


def _frame() -> dict[str, str | list[str]]:
    return {
        "opening": _("connecting"),
        "live": _("live"),
        "lost": _("not connected"),
        "out": _("logged out"),
        "refused": _("not allowed"),
        "kernel-late-short": _("kernel late"),
        "kernel-unseen": _("kernel never seen"),
        "kernel-late": _("Kernel last seen {age} ago."),
        "kernel-never": _("No kernel seen yet."),
        "broker": _("broker ok"),
        "broker-away": _("broker away"),
        "broker-unknown": _("broker unknown"),
        "nodes-late": [ngettext("{count} node late", "{count} nodes late", n) for n in NUMBERS],
        "nodes-gone": [ngettext("{count} node gone", "{count} nodes gone", n) for n in NUMBERS],
        "nodes-missing": [
            ngettext("{count} node is late or gone", "{count} nodes are late or gone", n) for n in NUMBERS
        ],
        "lag": [ngettext("{count} event not stored yet", "{count} events not stored yet", n) for n in NUMBERS],
        "flooding": _("{node} floods"),
        "ago": _("{age} ago"),
        "in": _("in {age}"),
        "passed": _("passed {age} ago"),
    }


def _decisions() -> dict[str, str | list[str]]:
    return {
        "reason-then-kill": _("Reason, then Enter to kill and restart"),
        "reason-then-stop": _("Reason, then Enter to stop"),
        "decide-401": _("Logged out: your decision was not stored. Log in in another tab, then decide again here."),
        "decide-403": _(
            "Your decision was not stored: you do not have the permission, or your login has changed. "
            "Reload the page and try again."
        ),
        "decide-404": _("Your decision was not stored: this incident no longer exists."),
        "decide-failed": _("The server failed ({status}). Decide again; it counts once."),
        "decide-unsent": _("No connection: your decision may not have arrived. Decide again; it counts once."),
        "undo": _("Undo"),
        "held": [ngettext("◇ {action} is sent in {count} s.", "◇ {action} is sent in {count} s.", n) for n in NUMBERS],
        "undone": _("{action} undone: nothing was sent."),
        "give-reason": _("Give a reason, then press {action} again, or Enter."),
        "press-button": _("Press Continue, Kill and restart, or Stop."),
        "choose-some": _("Tick processes, or choose a node or a release."),
        "ticked": [ngettext("{count} process ticked", "{count} processes ticked", n) for n in NUMBERS],
        "group-new": _("New: {title}"),
        "group-gone": _("Nothing of this problem is pending any more."),
        "lost-to": _("Your {action} was not sent. {outcome}"),
        "decide-lost": _("Your decision {action} arrived too late: another decision came first."),
        "pending-now": [ngettext("{count} pending incident", "{count} pending incidents", n) for n in NUMBERS],
        "sound-on": _("Sound on"),
        "sound-off": _("Sound off"),
        "notices-on": _("Notifications on"),
        "notices-off": _("Notifications off"),
        "notices-blocked": _("This browser blocks notifications"),
    }


def _lists() -> dict[str, str | list[str]]:
    return {
        "new": [ngettext("{count} new", "{count} new", n) for n in NUMBERS],
        "skipped": [ngettext("… {count} more in this second", "… {count} more in this second", n) for n in NUMBERS],
        "show": _("show"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "copied": _("Copied"),
        "selected": _("Selected"),
        "compact": _("Compact"),
        "comfortable": _("Comfortable"),
        "completion": _("Proposals for the search"),
        "selected-rows": [ngettext("{count} selected", "{count} selected", n) for n in NUMBERS],
        "selected-pending": [
            ngettext(
                "{count} process is pending on {problems} of them",
                "{count} processes are pending on {problems} of them",
                n,
            )
            for n in NUMBERS
        ],
        "palette-failed": _("The server did not respond."),
        "dry-run-ending": _("{count}× decided {how}"),
        "dry-run-pending": _("{count} still pending"),
        "dry-run-back": _("searched back to {time}"),
        "dry-run-stopped": _("The dry run stopped with an error ({status})."),
    }
