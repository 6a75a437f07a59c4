"""API tokens of operators."""

from django.conf import settings
from django.db import models


class RepeatableRequest(models.Model):
    """A change that was requested with an id of the client's own, and its result: repeating it changes nothing."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    request_id = models.CharField(max_length=64)
    content = models.CharField(max_length=64, help_text="Digest of the operation and of all that was sent with it.")
    result = models.BinaryField(default=b"", help_text="The body of the response.")
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "request_id"], name="repeatable_request_unique")]
        indexes = [models.Index(fields=["at"], name="repeatable_request_at")]

    def __str__(self) -> str:
        return f"request {self.request_id} of {self.user}"


class ApiToken(models.Model):
    """An operator's personal token for the API; the database stores only its hash."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    digest = models.CharField(max_length=64, unique=True)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"token {self.pk} of {self.user}"
