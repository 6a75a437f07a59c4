"""Counters, outbox, broker streams and heartbeats of the kernel."""

from django.db import models


class Counter(models.Model):
    """Gap-free numbers. A number is taken inside the transaction that uses it, so number order is commit order.

    ``events`` numbers stored events (their ``seq``), ``changes`` numbers changes of incidents, ``nodes`` is the
    revision of the credentials: the broker's configuration is written anew when it moves. ``rules`` is the revision of
    all rules together: an evaluation that finds it changed starts again. ``acted`` is the
    number of the last event of Steward/ctrl nodes on which the rules were evaluated.
    """

    EVENTS = "events"
    CHANGES = "changes"
    NODES = "nodes"
    RULES = "rules"
    ACTED = "acted"

    name = models.CharField(max_length=32, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class Outbox(models.Model):
    """Messages to publish. Written in the transaction of the change; removed when the broker has them."""

    subject = models.CharField(max_length=200)
    msg_id = models.CharField(max_length=100, unique=True)
    payload = models.BinaryField()
    created_at = models.DateTimeField()
    attempts = models.IntegerField(default=0)
    next_try_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "outbox"
        ordering = ["id"]
        indexes = [models.Index(fields=["next_try_at"], name="outbox_next_try")]

    def __str__(self) -> str:
        return self.subject


class BrokerStream(models.Model):
    """The last known state of the broker's streams. A stream that was created again, or went back, lost its messages.

    All but the first four fields are set only for the stream of Steward nodes, which never refuses a message.
    """

    name = models.CharField(max_length=64, primary_key=True)
    created = models.CharField(max_length=64, help_text="Its creation time, as the broker formats it.")
    observed_at = models.DateTimeField(null=True, blank=True, help_text="When the broker was queried.")
    last_seq = models.BigIntegerField(default=0, help_text="Number of its newest message.")
    unstored = models.BigIntegerField(default=0, help_text="Messages in it that are not stored yet.")
    fill_ratio = models.FloatField(default=0.0, help_text="Used share of its limit, from 0 to 1.")
    discarded = models.BigIntegerField(default=0, help_text="Messages that the broker discarded when full.")
    discarded_to_seq = models.BigIntegerField(default=0, help_text="Number of the last message counted as discarded.")
    stored_to_seq = models.BigIntegerField(default=0, help_text="Number of the last message stored in the database.")

    def __str__(self) -> str:
        return self.name


class KernelClock(models.Model):
    """The wall clock as the kernels saw it last, and whether a jump of it holds the deadlines. One row.

    ``boot_id`` and ``uptime_s`` identify the clock of that machine that no setting moves.
    """

    seen_at = models.DateTimeField()
    boot_id = models.CharField(max_length=64, blank=True)
    uptime_s = models.FloatField(default=0.0)
    held_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when deadlines are held; empty: not held."
    )
    jump_s = models.FloatField(default=0.0, help_text="By how much the clock jumped since then; negative: backwards.")

    def __str__(self) -> str:
        return "held" if self.held_since else "running"


class KernelHeartbeat(models.Model):
    """The last heartbeat of each kernel worker, read by pages and readiness."""

    worker = models.CharField(max_length=200, unique=True, help_text="host:pid")
    at = models.DateTimeField()
    started_at = models.DateTimeField()
    broker_connected = models.BooleanField(default=False)
    broker_connected_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is connected without interruption."
    )
    lag = models.BigIntegerField(default=0, help_text="Messages in the stream that are not stored yet.")
    broker_error = models.TextField(default="", blank=True, help_text="Why the broker cannot store, as it reports it.")

    def __str__(self) -> str:
        return self.worker


class WebHeartbeat(models.Model):
    """The last heartbeat of each web process, and the key that it signs with: all must have the same."""

    worker = models.CharField(max_length=200, unique=True, help_text="host:pid")
    at = models.DateTimeField()
    key_digest = models.CharField(max_length=64, help_text="Tells secret keys apart without giving them away.")

    def __str__(self) -> str:
        return self.worker
