"""The error page for an invalid request."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def refuse(request: HttpRequest, why: str, *, status: int = 400) -> HttpResponse:
    """Render the page. ``why``: one sentence in the reader's language."""
    return render(request, "errorkernel/invalid_input.html", {"why": why}, status=status)
