"""Rollups: numbers per time bucket, counted while events are stored."""

from django.db import models

from errorkernel.models.fields import Sequence


class FleetRollup(models.Model):
    """The events of the whole fleet in one bucket, and the blocked seconds of its processes."""

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
    """Of one hour: the sum of its minutes, for charts of weeks."""

    hour = Sequence(primary_key=True, help_text="Number of the hour, from 1970 on.")

    def __str__(self) -> str:
        return f"hour {self.hour}"


class EventRollup(models.Model):
    """The events of one process or problem in one hour, day or week. Key: ``errorkernel.domain.rollups``."""

    id = Sequence(primary_key=True)
    events = models.BigIntegerField()
    failures = models.BigIntegerField(help_text="Events of level error or critical.")

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"rollup {self.pk}"
