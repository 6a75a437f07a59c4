"""Django's settings. Everything that can be set is read from the environment by ``errorkernel.platform.conf``."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from csp.constants import NONE, SELF

from errorkernel.platform import conf
from errorkernel.web.assets.place import place

CONF = conf.get()

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent
# An installed wheel carries templates and static files inside the package; a checkout has them at its top.
ASSETS = _PACKAGE / "bundled" if (_PACKAGE / "bundled").is_dir() else _CHECKOUT

SECRET_KEY = conf.secret_key(CONF)
DEBUG = CONF.debug
ALLOWED_HOSTS = list(CONF.allowed_hosts)
if CONF.base_url and (_host := urlsplit(CONF.base_url).hostname):
    ALLOWED_HOSTS.append(_host)
_BASE = urlsplit(CONF.base_url)
CSRF_TRUSTED_ORIGINS = [f"{_BASE.scheme}://{_BASE.netloc}"] if CONF.base_url else []

INSTALLED_APPS = [
    "steward_site.apps.Daphne",
    "channels",
    "errorkernel",  # before Django's own: two of its commands are ours
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "csp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "errorkernel.web.assets.serving.Compress",
    "errorkernel.web.assets.serving.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "errorkernel.web.asgi.hosts.KnownHosts",
    "errorkernel.web.asgi.private_pages.NoStore",
    "errorkernel.web.auth.password_hashing.AnswerBusy",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "steward_site.urls"
ASGI_APPLICATION = "steward_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ASSETS / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["errorkernel.templatetags.root", "errorkernel.templatetags.assets"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "errorkernel.web.console.context.console",
            ],
        },
    },
]


def _libpq_parameters(query: str) -> dict[str, str]:
    """``?sslmode=verify-full&…`` of a database URL, for libpq. What libpq does not know is refused: a parameter that
    was dropped in silence could leave the connection without TLS."""
    given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True)) if query else {}
    if given:
        from psycopg.pq import Conninfo

        known = {option.keyword.decode() for option in Conninfo.get_defaults()}
        for name in given.keys() - known:
            nearest = get_close_matches(name, known, 1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise conf.ConfError(f"STEWARD_DATABASE_URL has the unknown parameter {name}.{hint}")
    return given


def _database(url: str) -> dict[str, Any]:
    if not url:
        url = f"sqlite:///{CONF.data_file('steward.sqlite3')}"
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "errorkernel.platform.sqlite",
            "NAME": unquote(parts.path[1:] if parts.path.startswith("//") else parts.path),
            # A file like the real one: an in-memory test database locks whole tables between threads.
            # Kept open: opening the file costs more than most requests. Threads that end close theirs.
            "CONN_MAX_AGE": None,
            "TEST": {"NAME": str(CONF.data_file("test.sqlite3"))},
            "OPTIONS": {
                # We acknowledge to the broker after a commit, so a commit must survive a power cut: FULL.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000;",
                # A transaction that reads first and writes later would fail at once where another writes: lock early.
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    if parts.scheme in ("postgres", "postgresql"):
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": unquote(parts.hostname or ""),
            "PORT": str(parts.port or ""),
            # For each process. With psycopg's own most of four, a few exports at once would hold all pages up.
            "OPTIONS": {"pool": {"min_size": 2, "max_size": 16}, **_libpq_parameters(parts.query)},
        }
    raise conf.ConfError("STEWARD_DATABASE_URL must begin with sqlite:// or postgresql://.")


DATABASES = {"default": _database(CONF.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _channel_layer(layer: str) -> dict[str, Any]:
    if layer == "memory":
        return {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
    if layer == "nats":
        return {"BACKEND": "errorkernel.live.channel_layer.NatsChannelLayer", "CONFIG": {}}
    return {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [layer]}}


CHANNEL_LAYERS = {"default": _channel_layer(CONF.channel_layer)}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = ["errorkernel.web.auth.password_hashing.BoundedHasher"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "triage"
LOGOUT_REDIRECT_URL = "login"

SESSION_ENGINE = "errorkernel.bypasses.sessions"
AUTHENTICATION_BACKENDS = ["errorkernel.bypasses.sessions.Backend"]
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = CONF.is_behind_tls
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = LANGUAGE_COOKIE_PATH = CONF.base_path or "/"
# Whether a request came by https, ``errorkernel.web.asgi.proxies`` says.
SECURE_SSL_REDIRECT = CONF.is_behind_tls
SECURE_SSL_HOST = _BASE.netloc or None
# Programs would not follow, or would send their token a second time; probes come from next to the server.
SECURE_REDIRECT_EXEMPT = [rf"^(?:{re.escape(CONF.base_path[1:])}/)?(?:api/|health/|metrics$)"]
SECURE_HSTS_SECONDS = 365 * 86400 if CONF.is_behind_tls else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
# Our own limits (errorkernel.domain.limits) are enforced while the body is read; Django's would answer 400 with a page.
DATA_UPLOAD_MAX_MEMORY_SIZE = CONF.body_compressed_bytes + 1

# The language of the source; frames are built in it, and a web process puts them into a reader's own.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [_CHECKOUT / "errorkernel" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

FORCE_SCRIPT_NAME = CONF.base_path or None
STATIC_URL = f"{CONF.base_path}/static/"
STATICFILES_DIRS = [ASSETS / "static"]
# Ours are served under hashed names, which the start makes where the wheel did not bring them. Those of Django's admin
# are served from where they are installed, and so are ours with STEWARD_DEBUG: plain files, read anew each time.
STATIC_ROOT = None if DEBUG else place(ASSETS, CONF.data_dir)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "errorkernel.web.assets.storage.HashedFiles"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 0 if DEBUG else 600

_FORMATTERS: dict[str, Any] = {
    "text": {"format": "{asctime} {levelname:<7} {name}: {message}", "style": "{"},
    "json": {"()": "errorkernel.platform.logs.JsonFormatter"},
}
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {CONF.log_format: _FORMATTERS[CONF.log_format]},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": CONF.log_format}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        # A command prints its result. Its connection to the broker, for example, is a detail that nobody needs to read.
        "errorkernel": {
            "level": "ERROR"
            if conf.serves_single_command() and "STEWARD_LOG_LEVEL" not in os.environ
            else CONF.log_level.upper()
        },
        "django": {"handlers": [], "level": "WARNING"},
        "django.server": {"handlers": [], "propagate": True, "level": "WARNING"},
        # A 4xx is what somebody else did: denials are listed and counted, and a page says what to do. A flood of them,
        # or of tracebacks of refused pages, would hide our own faults.
        "django.request": {"level": "ERROR"},
    },
}
