"""Heartbeats of the web processes. With different secret keys, they refuse each other's sessions."""

from datetime import datetime, timedelta

from django.utils.crypto import salted_hmac

from errorkernel.models import WebHeartbeat

INTERVAL_S = 10.0
GONE_AFTER = timedelta(seconds=35)
_SALT = "errorkernel.web_heartbeats"


def key_digest() -> str:
    """Tells this process's secret key from others without giving it away."""
    return salted_hmac(_SALT, "secret key", algorithm="sha256").hexdigest()[:32]


def record(worker: str, *, now: datetime) -> None:
    """Store that the worker serves. Rows of workers that have been gone for an hour go."""
    WebHeartbeat.objects.update_or_create(worker=worker, defaults={"at": now, "key_digest": key_digest()})
    WebHeartbeat.objects.filter(at__lt=now - timedelta(hours=1)).delete()


def forget(worker: str) -> None:
    """The worker has stopped."""
    WebHeartbeat.objects.filter(worker=worker).delete()


def with_other_key(*, now: datetime) -> list[str]:
    """The workers that serve now with another secret key than this process has."""
    serving = WebHeartbeat.objects.filter(at__gt=now - GONE_AFTER).exclude(key_digest=key_digest())
    return sorted(serving.values_list("worker", flat=True))


def count_serving(*, now: datetime) -> int:
    """How many web processes serve now."""
    return WebHeartbeat.objects.filter(at__gt=now - GONE_AFTER).count()
