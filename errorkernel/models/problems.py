"""What is kept beside a problem: what people said of it, and how often it was met by the hour."""

from django.conf import settings
from django.db import models

from errorkernel.models.reports import Problem


class ProblemComment(models.Model):
    """What somebody wrote under a problem. Kept as it was written."""

    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="comments")
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


class ProblemHour(models.Model):
    """How many events of a problem's own fingerprint came in one hour; written by the intake, kept for 30 days."""

    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.IntegerField(help_text="Hours since 1970, UTC.")
    count = models.BigIntegerField()

    class Meta:
        # The hour first: one index finds the hours that a page shows, and those that are too old.
        constraints = [models.UniqueConstraint(fields=["hour", "problem"], name="problem_hour_unique")]

    def __str__(self) -> str:
        return f"problem {self.problem_id} ×{self.count}"
