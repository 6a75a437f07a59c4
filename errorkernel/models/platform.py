"""How the kernel numbers, sends, and is seen to live."""

from django.db import models


class Counter(models.Model):
    """Gap-free numbers. A number is taken inside the transaction that uses it, so number order is commit order.

    ``events`` numbers stored events (their ``seq``), ``changes`` numbers changes of incidents, ``nodes`` is the
    revision of the credentials: the broker's configuration is written anew when it moves. ``rules`` is the revision of
    all rules together: who judges by rules that have changed meanwhile notices, and begins anew. ``acted`` is the
    number of the last event of Steward's and ctrl's nodes that the rules have been asked about.
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
    """What the kernel still has to publish. Written with the change that causes it; removed when the broker has it."""

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
    """The broker's streams as they were last seen. One that was made anew, or went back, has lost what was in it.

    All but the first four fields are of the stream of Steward's nodes alone, which the broker cannot refuse anything.
    """

    name = models.CharField(max_length=64, primary_key=True)
    created = models.CharField(max_length=64, help_text="When the broker made it, as the broker writes it.")
    observed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the broker was asked whose reply this is."
    )
    last_seq = models.BigIntegerField(default=0, help_text="Number of its newest message.")
    unstored = models.BigIntegerField(default=0, help_text="Messages in it that are not stored yet.")
    fill_ratio = models.FloatField(default=0.0, help_text="Used share of its limit, from 0 to 1.")
    discarded = models.BigIntegerField(default=0, help_text="Messages that the broker threw away because it was full.")
    discarded_to_seq = models.BigIntegerField(default=0, help_text="Number of the last message counted as thrown away.")
    stored_to_seq = models.BigIntegerField(default=0, help_text="Number of the last message that was stored here.")

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
    """When each kernel worker last wrote a heartbeat. Pages and readiness look here."""

    worker = models.CharField(max_length=200, unique=True, help_text="host:pid")
    at = models.DateTimeField()
    started_at = models.DateTimeField()
    broker_connected = models.BooleanField(default=False)
    broker_connected_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when it is connected without a break."
    )
    lag = models.BigIntegerField(default=0, help_text="Messages in the stream that are not stored yet.")
    broker_error = models.TextField(default="", blank=True, help_text="Why the broker cannot store, as it says it.")

    def __str__(self) -> str:
        return self.worker
