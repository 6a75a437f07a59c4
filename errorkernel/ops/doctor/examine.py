"""All checks, in the order in which to apply their remedies."""

from asgiref.sync import sync_to_async
from django.db import DatabaseError

from errorkernel.ops.doctor import activity, broker, database, machine
from errorkernel.ops.doctor.report import Check, warning
from errorkernel.platform.conf import Conf
from errorkernel.store import nodes


async def examine(conf: Conf) -> list[Check]:
    """Works whether or not the product runs. A check that cannot be made is a warning."""
    running = machine.is_running(conf)
    usable, found = await sync_to_async(_here)(conf, running)
    nodes = await sync_to_async(_nodes)() if usable else None
    found += [check async for check in broker.checks(conf, running=running, nodes=nodes)]
    found += [check async for check in broker.external_checks(conf)]
    found.append(await activity.layer(conf, running=running))
    return found


def _here(conf: Conf, running: bool) -> tuple[bool, list[Check]]:
    found = [*machine.checks(conf), *database.checks()]
    usable = database.is_usable()
    if usable:
        found += activity.checks(conf, running=running)
    else:
        found.append(warning("kernel", "not checked: the database cannot be queried", "Repair the database first."))
    return usable, found


def _nodes() -> list[str] | None:
    try:
        return [node.name for node in nodes.broker_users()]
    except DatabaseError:
        return None
