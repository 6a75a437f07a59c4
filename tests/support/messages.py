"""The console's catalogue of texts: ``python -m tests.support.messages`` (``make messages``) brings it up to date.

Collects what the templates and the Python of pages mark, merges it into ``errorkernel/locale/*/LC_MESSAGES/django.po``
and compiles these. What is new stands there empty, for somebody to translate; what is no longer said goes. Babel does
it instead of Django's makemessages: that needs GNU gettext on the machine, and these need what pip brings.
"""

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import django
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

from tests.support.paths import ROOT

LOCALE = ROOT / "errorkernel" / "locale"
LANGUAGES = ("de",)
SINGLE = ("_", "gettext", "gettext_lazy")
PLURAL = ("ngettext", "ngettext_lazy")
KEYWORDS = {**dict.fromkeys(SINGLE, None), **dict.fromkeys(PLURAL, (1, 2))}
NO_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""Stands in the header: the same texts are the same file, whenever it is made."""
Message = str | tuple[str, str]


def po_file(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def marked() -> Iterator[tuple[str, Message]]:
    """(file, message) of everything that is marked for translation; a pair is singular and plural."""
    for path in sorted(ROOT.glob("templates/**/*.html")):
        # Django's own reading of its templates, as lines that Python's tokenizer takes: nothing is indented in them.
        code = "\n".join(line.strip() for line in templatize(path.read_text(), origin=str(path)).splitlines())
        yield from _in_code(path, code)
    for path in sorted([*ROOT.glob("errorkernel/**/*.py"), *ROOT.glob("steward_site/**/*.py")]):
        code = path.read_text()
        if "gettext" in code or "domain.messages" in code:
            yield from _in_code(path, code)


def _in_code(path: Path, code: str) -> Iterator[tuple[str, Message]]:
    for _, function, given, _ in extract_python(io.BytesIO(code.encode()), list(KEYWORDS), [], {}):
        if given is None:  # a text that is a variable there is collected where it is written
            continue
        if function in PLURAL:
            yield str(path.relative_to(ROOT)), (str(given[0]), str(given[1]))
        else:
            yield str(path.relative_to(ROOT)), str(given if isinstance(given, str) else given[0])


def template() -> Catalog:
    """What has to be in every language. Where it is said is not written down: that would change all the time."""
    found = Catalog(domain="django", project="Steward", charset="utf-8", fuzzy=False)
    for path, message in marked():
        found.add(message, locations=[(path, None)])
    return found


def read(language: str) -> Catalog:
    with po_file(language).open("rb") as file:
        return read_po(file, locale=language, domain="django")


def compiled(catalog: Catalog) -> bytes:
    catalog.creation_date = catalog.revision_date = NO_DATE
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def missing(catalog: Catalog) -> list[str]:
    """What this language does not say yet, or not for sure."""
    return [str(one.id) for one in catalog if one.id and (one.fuzzy or not all(_forms(one.string)))]


def _forms(said: str | tuple[str, ...]) -> tuple[str, ...]:
    return said if isinstance(said, tuple) else (said,)


def update(language: str) -> Catalog:
    """Merge what is marked into the language's file and compile it. Translations of texts that are gone are dropped."""
    path = po_file(language)
    catalog = read(language) if path.exists() else Catalog(locale=language, domain="django")
    catalog.update(template(), no_fuzzy_matching=True, update_header_comment=False)
    catalog.obsolete.clear()
    catalog.fuzzy = False  # the header, which would be left out of what is compiled
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    write_po(out, catalog, width=120, ignore_obsolete=True, omit_header=False, no_location=True, sort_output=True)
    path.write_bytes(_without_dates(out.getvalue()))
    path.with_suffix(".mo").write_bytes(compiled(read(language)))
    return catalog


def _without_dates(text: bytes) -> bytes:
    """Dates, names and tools in the header would differ at every run, and say nothing that history does not."""
    noise = (b'"POT-Creation-Date', b'"PO-Revision-Date', b'"Generated-By', b'"Last-Translator', b'"Language-Team',
             b'"Report-Msgid-Bugs-To', b'"Project-Id-Version', b"# ")  # fmt: skip
    lines = text.split(b"\n")
    head = lines.index(b"", 1)
    return b"\n".join([line for line in lines[:head] if not line.startswith(noise) and line != b"#"] + lines[head:])


def main() -> int:
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    django.setup()
    untold = {language: missing(update(language)) for language in LANGUAGES}
    for language, texts in untold.items():
        print(f"{po_file(language).relative_to(ROOT)}: {len(texts)} to be translated")
        for text in texts:
            print(f"  {text}")
    return 1 if any(untold.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
