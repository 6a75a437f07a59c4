"""Saved searches."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class SavedSearch(models.Model):
    """A search of one page under a name: a person's own, or one for everybody."""

    page = models.CharField(max_length=20, help_text="live, events or problems.")
    name = models.CharField(max_length=60)
    query_string = models.CharField(max_length=2000, help_text="The parameters in the page's address.")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    shared = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["page", "owner", "name"], condition=Q(shared=False), name="search_own_unique"
            ),
            models.UniqueConstraint(fields=["page", "name"], condition=Q(shared=True), name="search_shared_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.page}: {self.name}"
