"""What a check says: how it is, and, where it is not well, how to mend it."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """``remedy`` is empty where all is well."""

    name: str
    status: Status
    said: str
    remedy: str = ""


def ok(name: str, said: str) -> Check:
    return Check(name, Status.OK, said)


def warning(name: str, said: str, remedy: str) -> Check:
    return Check(name, Status.WARNING, said, remedy)


def failed(name: str, said: str, remedy: str) -> Check:
    return Check(name, Status.FAILED, said, remedy)


def line(one: Check) -> str:
    return f"{one.status:<8} {one.name}: {one.said}" + (f". How to mend: {one.remedy}" if one.remedy else "")


def without_settings(why: str, *, as_json: bool) -> str:
    """What can be told where the settings themselves cannot be used."""
    one = failed("settings", why.rstrip("."), "Correct the setting that is named, or make its directory usable.")
    return json.dumps({"ok": False, "checks": [asdict(one)], "settings": []}) if as_json else line(one)


def bytes_of(number: float) -> str:
    """``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
