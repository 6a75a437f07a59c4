import json
import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.db import transaction

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand, add_data_dir, command_actor
from errorkernel.store.accounts import api_tokens


class Command(StewardCommand):
    help = catalogue.summary("token")

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="make a token")
        add.add_argument("user")
        add.add_argument("--note", default="", help="the purpose")
        add.add_argument("--json", action="store_true", help="print it as one JSON object")
        add_data_dir(add)

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model()
        try:
            owner = users.objects.get_by_natural_key(options["user"])
        except users.DoesNotExist:
            sys.exit(f"steward: there is no user named {options['user']}.")
        try:
            # Shown once, so it is made and shown, or neither.
            with transaction.atomic():
                token = api_tokens.add(owner, command_actor(), note=options["note"])
                self.stdout.write(json.dumps({"user": options["user"], "token": token}) if options["json"] else token)
                self.stdout.flush()
        except OSError as exc:
            sys.exit(f"steward: The output cannot be written ({exc.strerror}). Nothing was changed.")
