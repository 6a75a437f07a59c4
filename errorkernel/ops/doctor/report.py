"""The result of a check: a status, a finding and, unless all is well, a remedy."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """``finding``: the fact and its cause; ``remedy``: the instruction, empty where all is well."""

    name: str
    status: Status
    finding: str
    remedy: str = ""


def ok(name: str, finding: str) -> Check:
    return Check(name, Status.OK, finding)


def warning(name: str, finding: str, remedy: str) -> Check:
    return Check(name, Status.WARNING, finding, remedy)


def failed(name: str, finding: str, remedy: str) -> Check:
    return Check(name, Status.FAILED, finding, remedy)


def line(check: Check) -> str:
    return f"{check.status:<8} {check.name}: {check.finding}" + (f". Remedy: {check.remedy}" if check.remedy else "")


def without_settings(why: str, *, as_json: bool) -> str:
    """The report where the settings themselves cannot be used."""
    check = failed("settings", why.rstrip("."), "Correct the setting that is named, or make its directory writable.")
    return json.dumps({"ok": False, "checks": [asdict(check)], "settings": []}) if as_json else line(check)


def bytes_of(number: float) -> str:
    """``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
