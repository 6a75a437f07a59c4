"""Apps of others, as they are installed here."""

from django.apps import AppConfig


class Daphne(AppConfig):
    """Daphne with its ``runserver``, and without its server until somebody serves.

    Its own configuration imports that at once, Twisted and TLS with it, which was more than a quarter of the time that
    a command takes. What that is for, that no other Twisted reactor is there before Daphne's, holds here all the same:
    nobody imports Twisted before (``tests/unit/test_imports.py``).
    """

    name = "daphne"
    verbose_name = "Daphne"
