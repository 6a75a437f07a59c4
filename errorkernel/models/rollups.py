"""What was counted while it came in, so that pictures need not count it again."""

from django.db import models

from errorkernel.models.fields import Sequence


class FleetRollup(models.Model):
    """What the whole fleet reported in some time, and how long its processes stood still in it, added up."""

    debug = models.BigIntegerField(default=0)
    info = models.BigIntegerField(default=0)
    warning = models.BigIntegerField(default=0)
    error = models.BigIntegerField(default=0)
    critical = models.BigIntegerField(default=0)
    blocked_s = models.FloatField(default=0)

    class Meta:
        abstract = True


class MinuteRollup(FleetRollup):
    """Of one minute."""

    minute = Sequence(primary_key=True, help_text="Number of the minute, from 1970 on.")

    def __str__(self) -> str:
        return f"minute {self.minute}"


class HourRollup(FleetRollup):
    """Of one hour: its minutes added up, for pictures of weeks."""

    hour = Sequence(primary_key=True, help_text="Number of the hour, from 1970 on.")

    def __str__(self) -> str:
        return f"hour {self.hour}"


class EventRollup(models.Model):
    """What one process or problem reported in one hour or day. The key says which: ``errorkernel.domain.rollups``."""

    id = Sequence(primary_key=True)
    events = models.BigIntegerField()
    failures = models.BigIntegerField(help_text="Errors and critical ones among them.")

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"tally {self.pk}"
