"""Lists as files: CSV for spreadsheets, and JSON lines. They are sent as they are read."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec
from django.http import StreamingHttpResponse

FORMATS = {"csv": "text/csv", "json": "application/x-ndjson", "ndjson": "application/x-ndjson"}
Row = Sequence[Any]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def streamed(parts: AsyncIterator[bytes], name: str, form: str) -> StreamingHttpResponse:
    """The response with a file; ``form``: one of FORMATS."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(parts, content_type=f"{FORMATS[form]}; charset=utf-8", headers=headers)


def lines(rows: Iterable[Row], columns: Sequence[str], form: str, *, has_head: bool) -> bytes:
    """``rows`` as text. In CSV an apostrophe precedes a cell that a spreadsheet would run as a formula, and the first
    part has a head; JSON lines are exact."""
    if form != "csv":
        return b"".join(msgspec.json.encode(dict(zip(columns, row, strict=True))) + b"\n" for row in rows)
    page = io.StringIO()
    writer = csv.writer(page)
    if has_head:
        writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return page.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
    return f"'{text}" if text.startswith(_FORMULA) else text
