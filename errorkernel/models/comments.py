"""Comments on problems and incidents."""

from django.conf import settings
from django.db import models

from errorkernel.models.events import Problem
from errorkernel.models.incidents import Incident


class Comment(models.Model):
    """A comment of a person on a problem, or on one incident of it; it cannot be changed."""

    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="comments")
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.CASCADE, related_name="comments",
        help_text="Empty for a comment on the problem.",
    )  # fmt: skip
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    author = models.CharField(max_length=200, help_text="user:<name>; it stays when the person is removed.")
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:80]}"
