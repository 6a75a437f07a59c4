import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandParser
from django.db import transaction

from errorkernel.broker import streams
from errorkernel.broker.access import own_access
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerAway
from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand, add_data_dir, command_actor
from errorkernel.models import Node
from errorkernel.platform import conf
from errorkernel.protocol import subjects
from errorkernel.store import nodes

CONFIRM_S = 10.0


class Command(StewardCommand):
    help = catalogue.summary("node")

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for action, text in (("add", "create a node's credentials"), ("renew", "replace a node's credentials")):
            secrets = actions.add_parser(action, help=text, description=f"{text.capitalize()}. They are shown once.")
            secrets.add_argument("name", metavar="NAME", help="name of the node")
            secrets.add_argument("--json", action="store_true", help="print one JSON object")
            secrets.add_argument("--out", metavar="FILE", help="write the JSON object to this file (mode 0600) instead")
        listed = actions.add_parser("list", help="list the nodes")
        listed.add_argument("--json", action="store_true", help="print one JSON array")
        for action, text in (("disable", "refuse a node's connections"), ("enable", "accept them again")):
            actions.add_parser(action, help=text).add_argument("name", metavar="NAME", help="name of the node")
        for action_parser in actions.choices.values():
            add_data_dir(action_parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, "_" + options["action"])(options)
        except nodes.FleetError as exc:
            sys.exit(f"steward: {exc}")

    def _add(self, options: dict[str, Any]) -> None:
        self._issue(options, lambda: nodes.add_node(options["name"], command_actor()))

    def _renew(self, options: dict[str, Any]) -> None:
        self._issue(options, lambda: nodes.renew_node(options["name"], command_actor()))

    def _list(self, options: dict[str, Any]) -> None:
        listed = Node.objects.order_by("name")
        if options["json"]:
            self.stdout.write(json.dumps([_described(node) for node in listed]))
            return
        for node in listed:
            heard = node.heartbeat_at.isoformat(timespec="seconds") if node.heartbeat_at else "never"
            state = "enabled" if node.enabled else "disabled"
            self.stdout.write(f"{node.name:<32} {state:<9} {node.events:>9} events  last heartbeat: {heard}")

    def _disable(self, options: dict[str, Any]) -> None:
        nodes.set_node_enabled(options["name"], False, command_actor())

    def _enable(self, options: dict[str, Any]) -> None:
        nodes.set_node_enabled(options["name"], True, command_actor())

    def _issue(self, options: dict[str, Any], make: Callable[[], nodes.NodeSecrets]) -> None:
        """Make credentials and give them out, both or neither: they are shown once."""
        try:
            with transaction.atomic():
                made = make()
                http_url, nats_url = _urls()
                self._give_out(made, http_url, nats_url, options)
        except OSError as exc:
            where = options["out"] or "The output"
            sys.exit(f"steward: {where} cannot be written ({exc.strerror}). Nothing was changed.")
        if not _works(made, nats_url):
            self.stderr.write("The broker accepts the node as soon as `steward up` or `steward kernel` runs.")
        if hint := _reach_hint(nats_url, http_url):
            self.stderr.write(hint)

    def _give_out(self, made: nodes.NodeSecrets, http_url: str, nats_url: str, options: dict[str, Any]) -> None:
        """Raises OSError."""
        given = {
            "node": made.node,
            "nkey_seed": made.nkey_seed,
            "token": made.token,
            "nats_url": nats_url,
            "http_url": http_url,
        }
        if options["out"]:
            _write(Path(options["out"]), json.dumps(given) + "\n")
        elif options["json"]:
            self.stdout.write(json.dumps(given))
        else:
            self.stdout.write("Keep these on the node, readable for it alone. They are shown only now:")
            for key, value in given.items():
                self.stdout.write(f"  {key:<10} {value}")
        self.stdout.flush()


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises OSError."""
    if path.exists() and not path.is_file():
        # A pipe or a device: nothing can be renamed into its place.
        with path.open("w") as out:
            out.write(text)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _described(node: Node) -> dict[str, Any]:
    """A node as ``list --json`` shows it, with the names of the API."""
    heard = node.heartbeat_at.isoformat() if node.heartbeat_at else None
    return {"name": node.name, "enabled": node.enabled, "events": node.events, "heartbeat_at": heard}


def _reach_hint(nats_url: str, http_url: str) -> str:
    """What to do where these addresses lead nowhere on another machine; empty where they do."""
    lines = []
    if _is_loopback(nats_url):
        lines.append(
            f"{nats_url} works on this machine only. For nodes on other machines, start Steward with STEWARD_NATS_HOST="
            "ADDRESS and STEWARD_NATS_PORT=4222, where ADDRESS is one of this machine that they reach; then nats_url is"
            " nats://ADDRESS:4222."
        )
    if _is_loopback(http_url):
        lines.append(
            f"{http_url} works on this machine only. For HTTP from other machines, start Steward with --host ADDRESS,"
            " or behind a proxy with STEWARD_BASE_URL."
        )
    return "\n".join(lines)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _urls() -> tuple[str, str]:
    """(HTTP, NATS): the addresses under which nodes reach Steward."""
    settings = conf.get()
    try:
        running = json.loads(settings.data_file("endpoints.json").read_text())
    except (OSError, ValueError):
        running = {}
    http_url = settings.base_url.rstrip("/") or running.get("http_url") or "http://127.0.0.1:8000"
    return http_url, conf.without_login(settings.nats_url) or running.get("nats_url") or own_access(settings).url


def _works(made: nodes.NodeSecrets, nats_url: str) -> bool:
    """Wait until the broker accepts the node and has a consumer for its decisions, so that the credentials work."""
    if not nats_url or not conf.get().embedded_broker or not conf.get().data_file("endpoints.json").exists():
        return not conf.get().embedded_broker

    async def enter() -> bool:
        connection = Connection(
            nats_url, name=made.node, seed=made.nkey_seed, inbox_prefix=subjects.inbox_prefix(made.node)
        )
        connection.start()
        try:
            async with asyncio.timeout(CONFIRM_S):
                while True:
                    try:
                        await connection.wait_until_ready()
                        await streams.await_node_consumer(connection, made.node)
                        return True
                    except BrokerAway:
                        await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        finally:
            await connection.close()

    return asyncio.run(enter())
