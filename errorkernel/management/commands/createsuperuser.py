from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User

from errorkernel.management.base import StewardCommand, command_actor
from errorkernel.store.accounts import people


class Command(StewardCommand, createsuperuser.Command):
    """Django's, with an entry in the audit trail."""

    def handle(self, *args: Any, **options: Any) -> None:
        there = set(User.objects.values_list("pk", flat=True))
        # In no transaction with the entry: it would be open for as long as somebody thinks of a password.
        super().handle(*args, **options)
        for made in User.objects.filter(is_superuser=True).exclude(pk__in=there):
            people.note("user", {}, people.person(made.pk), command_actor())
