"""The prefix of addresses in templates. ``{% url %}`` would cost rows of lists as much as everything else in them."""

from django import template

from errorkernel.platform import conf

register = template.Library()


@register.simple_tag
def root() -> str:
    """The path of the base URL without a slash at its end; empty where the product is at the root of its host."""
    return conf.get().base_path
