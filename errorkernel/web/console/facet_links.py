"""Facets beside a list: each value is a link that adds it to the search or takes it out again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from errorkernel.domain.query import edit
from errorkernel.domain.query.tree import Tree

SHOWN = 5
"""Values of a facet that are always visible."""
MOST = 25
"""Values that a facet shows when all are opened."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """``name``: a text of a sender or a word of the page; ``sign``: class of the level, or empty."""

    name: str
    count: int
    address: str
    is_chosen: bool
    sign: str = ""


@dataclass(frozen=True, slots=True)
class FacetLinks:
    """``left_out``: values beyond MOST."""

    title: str
    values: list[FacetValue]
    more: list[FacetValue]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the addresses: ``parameters`` are those of the page beside the search."""

    tree: Tree
    parameters: dict[str, str]

    def address(self, tree: Tree) -> str:
        query = {"q": str(tree)} if str(tree) else {}
        return f"?{urlencode(query | self.parameters)}"

    def of(
        self,
        title: str,
        field: str,
        counts: Iterable[tuple[str, int]],
        name: Callable[[str], str] = str,
        sign: Callable[[str], str] = lambda value: "",
    ) -> FacetLinks:
        """The values of a field that can be chosen together. Chosen ones are shown first, also without a hit."""
        known = dict(counts)
        taken = edit.chosen(self.tree, field)
        every = [value for value in dict.fromkeys([*taken, *known]) if value != edit.ANY]
        values = [
            FacetValue(
                name(value),
                known.get(value, 0),
                self.address(edit.toggled(self.tree, field, value)),
                value in taken,
                sign(value),
            )
            for value in every[:MOST]
        ]
        shown = max(SHOWN, len(taken))
        return FacetLinks(title, values[:shown], values[shown:], len(every) - len(values))
