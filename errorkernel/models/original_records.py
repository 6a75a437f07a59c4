"""Records of Steward and ctrl nodes that cannot be written again from their events."""

from django.db import models


class OriginalRecord(models.Model):
    """The bytes of an error that its event does not tell: it was cut, is not UTF-8, or has no time. Kept until its line
    in ``error.log`` is written, at most a day."""

    event = models.UUIDField(primary_key=True, help_text="Id of the event.")
    data = models.BinaryField()
    recorded_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["recorded_at"], name="original_record_recorded_at")]

    def __str__(self) -> str:
        return str(self.event)
