"""Operations that packages register with the web server."""

import pytest

from errorkernel.web.operations.registry import Registry, registry
from errorkernel.web.operations.saved_searches import OPERATIONS


def test_a_package_registers_before_the_first_read() -> None:
    made = Registry((), ())
    made.register(operations=OPERATIONS, lists=registry.lists, pages=(), shapes=())
    assert made.operations == OPERATIONS
    assert made.lists == registry.lists


@pytest.mark.parametrize("part", ["operations", "lists", "pages", "shapes"])
def test_registering_after_a_read_is_refused(part: str) -> None:
    """Otherwise the address list that was built from it would silently omit the package's addresses."""
    made = Registry((), ())
    getattr(made, part)
    with pytest.raises(RuntimeError, match=r"Import steward_site\.urls before errorkernel\.web\.urls"):
        made.register(operations=OPERATIONS, lists=(), pages=(), shapes=())
