import json
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.broker import streams
from errorkernel.broker.access import make_seed_file, own_access
from errorkernel.broker.config import render_accounts, render_external
from errorkernel.broker.credentials import public_nkey
from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.platform import conf
from errorkernel.senders.steward.broker.permissions import render_permissions
from errorkernel.store import nodes

_HEAD = """\
# nats-server configuration for the Steward error kernel. Print it again when nodes are added, renewed or disabled, and
# have the server read it twice (`nats-server --signal reload=PID`, a moment apart): it serves what a new node's account
# imports only from the second time on. Set store_dir, and listen and tls as you need them.
#
# An existing configuration: `steward broker-config --accounts` prints the part below `jetstream`, to be included; it
# needs JetStream, max_payload of at least 1 MiB, and no other `accounts` or `system_account`.
#
# The kernel makes these streams and consumers itself when it connects (as JSON: --streams):
"""


class Command(StewardCommand):
    help = catalogue.summary("broker-config")

    def add_arguments(self, parser: CommandParser) -> None:
        part = parser.add_mutually_exclusive_group()
        part.add_argument(
            "--accounts", action="store_true", help="only users, permissions and accounts, to be included"
        )
        part.add_argument(
            "--steward", action="store_true", help="only what to permit on the broker of nodes of Steward and ctrl"
        )
        part.add_argument("--streams", action="store_true", help="only the streams and consumers, as JSON")
        parser.add_argument("--listen", default="0.0.0.0:4222", help="address and port of the server")
        parser.add_argument("--store-dir", default="/var/lib/nats", help="where the server keeps its streams")

    def handle(self, *args: Any, **options: Any) -> None:
        settings = conf.get()
        if options["steward"]:
            self.stdout.write(render_permissions(settings.legacy_central), ending="")
            return
        made = streams.definitions(
            events_max_bytes=settings.stream_max_bytes,
            node_events=settings.node_stream_events,
            nodes=nodes.node_names(),
        )
        if options["streams"]:
            self.stdout.write(json.dumps(made, indent=2))
            return
        if make_seed_file(settings):
            self.stderr.write(f"A key of our own was made: {settings.nats_seed_file}")
        seed = own_access(settings).seed
        if not seed:
            raise conf.ConfError("STEWARD_NATS_SEED_FILE must name the file with our own nkey seed.")
        kernel_key, users = public_nkey(seed), nodes.broker_users()
        if options["accounts"]:
            self.stdout.write(render_accounts(kernel_key, users), ending="")
            return
        known = "".join(f"#   {json.dumps(definition)}\n" for definition in (*made["streams"], *made["consumers"]))
        body = render_external(
            kernel_key,
            users,
            listen=options["listen"],
            store_dir=options["store_dir"],
            max_file_store=settings.stream_max_bytes * 2,
        )
        self.stdout.write(_HEAD + known + body, ending="")
