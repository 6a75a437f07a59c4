"""The console's languages: nothing is missing, what is compiled is what is written, and placeholders survive."""

import re
from html.parser import HTMLParser

import pytest

from tests.support import messages

PLACES = re.compile(r"%\(\w+\)s|\{\w+\}")


class Tags(HTMLParser):
    """The tags of a text, in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(f"{tag} {attrs}")


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_every_text_is_said_in_every_language(language: str) -> None:
    catalog = messages.read(language)
    wanted = {str(one.id) for one in messages.template() if one.id}
    known = {str(one.id) for one in catalog if one.id}
    assert wanted - known == set(), "run: make messages"
    assert known - wanted == set(), "run: make messages"
    assert messages.missing(catalog) == []


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_what_is_compiled_is_what_is_written(language: str) -> None:
    compiled = messages.po_file(language).with_suffix(".mo").read_bytes()
    assert compiled == messages.compiled(messages.read(language)), "run: make messages"


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_a_translation_keeps_what_is_filled_in_and_how_it_is_marked(language: str) -> None:
    for one in messages.read(language):
        said = one.string if isinstance(one.string, tuple) else (one.string,)
        meant = one.id if isinstance(one.id, tuple) else (one.id,)
        for text in said if one.id else ():
            # A singular may say "the other one" where the plural has a number.
            assert set(PLACES.findall(text)) in [set(PLACES.findall(form)) for form in meant], meant
            assert sorted(Tags(text).found) == sorted(Tags(meant[-1]).found), meant
