import base64
import json
import sys
from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand, add_data_dir, command_actor
from errorkernel.platform import conf
from errorkernel.senders.steward.protocol import signing_key
from errorkernel.senders.steward.protocol.operator_messages import OPERATOR_NAME, Operator
from errorkernel.store import nodes

_HOW = """\
A node of ctrl that checks signatures has to know it. In the file publickeys.txt of its database folder, under "Keys":
  "{name}": "{key}"
and where it has no such file yet (`steward signing-key show --json` prints this alone):
  {file}
It reads the file when it starts. Nodes that take their keys from a central one are told there: it has to allow {name}.
"""


class Command(StewardCommand):
    help = catalogue.summary("signing-key")

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        make = actions.add_parser("make", help="make the key and show its public half")
        make.add_argument("--force", action="store_true", help="also where there is one; nodes do not know the new one")
        show = actions.add_parser("show", help="show the public half")
        for subparser in (make, show):
            subparser.add_argument("--json", action="store_true", help="print only the file that a node reads")
            add_data_dir(subparser)

    def handle(self, *args: Any, **options: Any) -> None:
        settings = conf.get()
        making = options["action"] == "make"
        seed = self._make(settings, force=options["force"]) if making else signing_key.seed(settings)
        if not seed:
            sys.exit("steward: there is no key yet; `steward signing-key make` makes one.")
        self._show(seed, as_json=options["json"])

    def _make(self, settings: conf.Conf, *, force: bool) -> bytes:
        try:
            with transaction.atomic():
                seed = signing_key.make(settings, force=force)
                nodes.note_signing_key(_text(seed), command_actor())
        except signing_key.KeyExists:
            sys.exit(
                f"steward: {signing_key.path(settings)} is there already, and nodes may know it; "
                "--force puts a new key in its place."
            )
        except OSError as exc:
            sys.exit(f"steward: {signing_key.path(settings)} cannot be written: {exc.strerror}.")
        return seed

    def _show(self, seed: bytes, *, as_json: bool) -> None:
        key = _text(seed)
        # A node compares the hash with the one that its central node has; zeros are none.
        file = json.dumps({"Keys": {OPERATOR_NAME: key}, "Hash": [0] * 32})
        if as_json:
            self.stdout.write(file)
            return
        self.stdout.write(
            f"Public key of {OPERATOR_NAME}: {key}\n\n" + _HOW.format(name=OPERATOR_NAME, key=key, file=file)
        )


def _text(seed: bytes) -> str:
    """The public half as nodes write keys."""
    return base64.b64encode(Operator(OPERATOR_NAME, seed).public_key).decode()
