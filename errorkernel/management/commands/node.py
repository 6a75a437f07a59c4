import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

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
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="make a node's credentials; they are printed once")
        add.add_argument("name")
        add.add_argument("--json", action="store_true", help="print them as one JSON object")
        add.add_argument("--out", metavar="FILE", help="write the JSON to this file (mode 0600) instead")
        renew = actions.add_parser("renew", help="new credentials for a node; the old ones stop working")
        renew.add_argument("name")
        renew.add_argument("--json", action="store_true")
        renew.add_argument("--out", metavar="FILE")
        actions.add_parser("list", help="list the nodes")
        for name in ("disable", "enable"):
            actions.add_parser(name, help=f"{name} a node").add_argument("name")
        for one in actions.choices.values():
            add_data_dir(one)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, "_" + options["action"])(options)
        except nodes.FleetError as exc:
            sys.exit(f"steward: {exc}")

    def _add(self, options: dict[str, Any]) -> None:
        self._give_out(nodes.add_node(options["name"], command_actor()), options)

    def _renew(self, options: dict[str, Any]) -> None:
        self._give_out(nodes.renew_node(options["name"], command_actor()), options)

    def _list(self, options: dict[str, Any]) -> None:
        for node in Node.objects.order_by("name"):
            heard = node.hello_at.isoformat(timespec="seconds") if node.hello_at else "never heard"
            state = "enabled" if node.enabled else "disabled"
            self.stdout.write(f"{node.name:<32} {state:<9} {node.events:>9} reports  {heard}")

    def _disable(self, options: dict[str, Any]) -> None:
        nodes.set_node_enabled(options["name"], False, command_actor())

    def _enable(self, options: dict[str, Any]) -> None:
        nodes.set_node_enabled(options["name"], True, command_actor())

    def _give_out(self, made: nodes.NodeSecrets, options: dict[str, Any]) -> None:
        http_url, nats_url = _urls()
        given = {
            "node": made.node,
            "nkey_seed": made.nkey_seed,
            "token": made.token,
            "nats_url": nats_url,
            "http_url": http_url,
        }
        if options["out"]:
            self._write(Path(options["out"]), given)
        elif options["json"]:
            self.stdout.write(json.dumps(given))
        else:
            self.stdout.write("Shown only now; keep them on the node, readable for it alone:")
            for key, value in given.items():
                self.stdout.write(f"  {key:<10} {value}")
        self.stdout.flush()
        if not _works(made, nats_url):
            self.stderr.write("The broker does not let the node in yet: it does once `steward up` or the kernel runs.")

    def _write(self, path: Path, given: dict[str, str]) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as out:
                out.write(json.dumps(given) + "\n")
        except OSError as exc:
            sys.exit(f"steward: {path} cannot be written ({exc.strerror}); make new ones with `steward node renew`.")


def _urls() -> tuple[str, str]:
    """Where nodes reach us: over HTTP, over NATS."""
    settings = conf.get()
    try:
        running = json.loads(settings.data_file("endpoints.json").read_text())
    except (OSError, ValueError):
        running = {}
    http_url = settings.base_url or running.get("http_url") or "http://127.0.0.1:8000"
    return http_url, settings.nats_url or running.get("nats_url") or own_access(settings).url


def _works(made: nodes.NodeSecrets, nats_url: str) -> bool:
    """Wait until the broker lets the node in and its decisions have a consumer, so that what is printed works."""
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
