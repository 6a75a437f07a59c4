import pytest

from errorkernel.web.asgi.origin import is_ours


@pytest.mark.parametrize(
    ("origin", "host", "ours"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("", "localhost:8000", True),
        ("http://localhost:3000", "localhost:8000", False),
        ("https://evil.example", "localhost:8000", False),
        ("http://evil.example", "evil.example", False),
        ("null", "localhost:8000", False),
        ("http://localhost:8000", "", False),
    ],
)
def test_only_our_own_pages_may_open_sockets(settings, origin: str, host: str, ours: bool) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert is_ours(origin, host) is ours
