"""Apps of others, as they are installed here."""

from django.apps import AppConfig


class Daphne(AppConfig):
    """Daphne with its ``runserver``, and without its server until somebody serves.

    Its own configuration imports that at once, Twisted and TLS with it, which was a quarter of the time that every
    command takes. What it is for, that no other Twisted reactor is installed before, holds here: nobody imports one.
    """

    name = "daphne"
    verbose_name = "Daphne"
