"""Serves static files and compresses what is sent."""

from pathlib import Path
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

_SENT_IN_PIECES = "text/event-stream"


class StaticFiles(WhiteNoiseMiddleware):
    """WhiteNoise on the hashed files, if there are any, and on the plain ones."""

    def add_files(self, root: Any, prefix: Any = None) -> None:
        if Path(root).is_dir():
            super().add_files(root, prefix)


class Compress(GZipMiddleware):
    """Middleware: gzip for browsers that take it.

    A compressed page must not tell its CSRF token by its size (BREACH): Django masks the token anew in each page and
    adds up to 100 random bytes to the compressed stream.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        is_stream = response.headers.get("Content-Type", "").startswith(_SENT_IN_PIECES)
        # A part of a file stays that part; events are sent as they come, and gzip would hold them back.
        return response if is_stream or response.status_code == 206 else super().process_response(request, response)
