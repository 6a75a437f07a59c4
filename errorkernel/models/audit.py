"""The audit trail."""

from django.conf import settings
from django.db import models


class AuditEntry(models.Model):
    """One change: actor, action, target, reason, time and origin.

    A row is written once: the database itself refuses to change or remove a row (migration 0002). So the person's
    number stays when the person is removed; ``actor`` has the name.
    """

    at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text="user:<name>, node:<name>, rule:<id>, deadline or system.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    action = models.CharField(max_length=64)
    target = models.CharField(max_length=300, help_text="The changed object, e.g. incident:<id>.")
    reason = models.TextField(blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    origin = models.CharField(max_length=200, blank=True, help_text="Address, and session or token, of the request.")

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["target", "id"], name="audit_target"),
            models.Index(fields=["-at"], name="audit_at"),
            models.Index(fields=["actor", "id"], name="audit_actor"),
            models.Index(fields=["action", "id"], name="audit_action"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"
