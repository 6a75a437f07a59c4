"""Deduplication of messages that carry no number of their own."""

from django.db import models


class UnnumberedMessage(models.Model):
    """A message of a Steward node that does not number its messages: which of several equal failures it reported."""

    source = models.CharField(max_length=120, unique=True, help_text="Its place in the stream.")
    digest = models.BinaryField(max_length=32)
    occurrence = models.IntegerField(help_text="Earlier failures with the same bytes.")
    at = models.FloatField(help_text="Unix time at which the broker received it.")
    recorded_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["digest", "-at", "occurrence"], name="unnumbered_message_same"),
            models.Index(fields=["recorded_at"], name="unnumbered_recorded_at"),
        ]

    def __str__(self) -> str:
        return self.source
