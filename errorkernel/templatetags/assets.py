"""Tags that name static files to the browser before it finds them itself."""

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def preload_modules() -> SafeString:
    """All modules of the console, asked for at once. Nothing where files have their plain names: there a browser asks
    for each anyway, and the server is near."""
    return _links('<link rel="modulepreload" href="{}">\n')


@register.simple_tag
def prefetch_modules() -> SafeString:
    """The same for the page after this one, when the browser has nothing else to do."""
    return _links('<link rel="prefetch" as="script" href="{}">\n')


def _links(link: str) -> SafeString:
    names = getattr(staticfiles_storage, "modules", ())
    return format_html_join("", link, ((staticfiles_storage.url(name),) for name in names))
