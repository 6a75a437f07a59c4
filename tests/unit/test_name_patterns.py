"""Names that differ by numbers alone form a group; each name is in exactly one."""

from hypothesis import given
from hypothesis import strategies as st

from errorkernel.domain.name_patterns import OTHERS, by_pattern, pattern_of


def test_numbers_become_a_star() -> None:
    assert pattern_of("ingest-07") == "ingest-*"
    assert pattern_of("r2d2-10") == "r*d*-*"
    assert pattern_of("backup") == "backup"


def test_a_name_that_is_alone_with_its_pattern_is_among_the_others() -> None:
    groups = by_pattern(["ingest-07", "backup", "ingest-11", "watch-1", "7"])
    assert groups == {"ingest-*": ["ingest-07", "ingest-11"], OTHERS: ["backup", "watch-1", "7"]}


@given(st.sets(st.text("ab-*019", max_size=5)))
def test_each_name_is_in_one_group(names: set[str]) -> None:
    grouped = [name for members in by_pattern(sorted(names)).values() for name in members]
    assert sorted(grouped) == sorted(names)
