from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from errorkernel.management.base import OurHelp
from errorkernel.store.platform import schema


class Command(OurHelp, migrate.Command):
    """Django's, which refuses a database of another version before it changes anything."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        if why := schema.incompatibility():
            raise CommandError(why)
        return super().handle(*args, **options)
