import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User
from django.core.management.base import CommandParser

from errorkernel.management.base import add_data_dir, who
from errorkernel.store.accounts import people


class Command(changepassword.Command):
    """Django's, and on record."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_data_dir(parser)

    def handle(self, *args: Any, **options: Any) -> str | None:
        found = User.objects.filter(username=options["username"] or getpass.getuser()).first()
        before = people.person(found.pk) if found else {}
        # In no transaction with the entry: it would be open for as long as somebody thinks of a password.
        said = super().handle(*args, **options)
        if found:
            people.note("user", before, people.person(found.pk), **who())
        return said
