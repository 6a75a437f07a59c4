"""Tags of the frame around every page."""

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("errorkernel/_crumbs.html")
def crumbs(*parts: str) -> dict[str, Any]:
    """Breadcrumbs: address and text of each page above this one, from the outermost on; a last text without address
    is about this page."""
    links = list(zip(parts[::2], parts[1::2], strict=False))
    return {"links": links, "here": parts[-1] if len(parts) % 2 else ""}
