"""The release of the program that reported an event: its tag ``release``."""

from collections.abc import Mapping

RELEASE_TAG = "release"
RELEASE_MAX_CHARS = 200
"""Of the column. The maximum of a tag is a setting and may be larger; a longer release is cut."""


def release_of(tags: Mapping[str, str]) -> str:
    """The release that these tags name; empty where they name none."""
    return tags.get(RELEASE_TAG, "")[:RELEASE_MAX_CHARS]
