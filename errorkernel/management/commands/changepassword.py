import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand, command_actor
from errorkernel.store.accounts import people


class Command(StewardCommand, changepassword.Command):
    """Django's, with an entry in the audit trail."""

    help = catalogue.summary("changepassword")

    def handle(self, *args: Any, **options: Any) -> str | None:
        found = User.objects.filter(username=options["username"] or getpass.getuser()).first()
        before = people.person(found.pk) if found else {}
        # In no transaction with the entry: it would be open for as long as somebody thinks of a password.
        changed = super().handle(*args, **options)
        if found:
            people.note("user", before, people.person(found.pk), command_actor())
        return changed
