"""One vocabulary: words that were replaced do not come back, in identifiers, docstrings and comments, page texts,
documents and commits.

``REPLACED`` holds the patterns by scope, each with the word to use. ``ALLOWED`` holds names of the contract and of
frameworks in which such a word is right. The vocabulary itself is ``docs/glossary.md``.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.paths import ROOT

PRODUCT = ("errorkernel", "steward_site")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MESSAGES = ROOT / "errorkernel/locale/de/LC_MESSAGES/django.po"


class Replaced(NamedTuple):
    """``pattern``: searched in a text, or in the words of an identifier (``was_told``: was told)."""

    pattern: str
    instead: str


def word(pattern: str, instead: str) -> Replaced:
    """Replaced where it stands as a word of its own."""
    return Replaced(rf"\b(?:{pattern})\b", instead)


IDENTIFIERS = [
    word(r"questions?", "incident"),
    word(r"owed|owes|debts?", "outbox, enqueue"),
    word(r"lives", "incarnations"),
    word(r"hellos?", "heartbeat"),
    word(r"mend(s|ed|ing)?", "repair, reconcile"),
    word(r"whole", "merged_into, target"),
    word(r"tall(y|ies)", "rollup"),
    word(r"strangers?", "access denial, unknown sender"),
    word(r"crowds?", "triage"),
    word(r"told|tells?|said|says", "a verb of the field: reported, shown, message"),
    word(r"speaks?|knows|vouch(es)?", "a verb of the field"),
    word(r"one|ones", "what the variable holds"),
    word(r"answers|answered|answerers?|asked|askers?|owing", "decision, pending, outbox"),
    word(r"who|whom|whoever|became", "actor"),
    word(r"life|lineage", "incarnation"),
    word(r"crowds?|houses?|truth|wording|thousands", "a word of the field"),
]
PAGE_TEXTS = [
    word(r"questions?", "incident"),
    word(r"hellos?", "heartbeat"),
    word(r"waiting room", "triage"),
    word(r"nobody's|whoever|whom", "a noun"),
    word(r"mend(s|ed)?", "repair, correct, resolve"),
    word(r"lives", "restarts, incarnations"),
    word(r"(not )?told|says no", "reported, not reported"),
    word(r"still to send", "backlog"),
    word(r"stand(s|ing)? still", "quarantined"),
    word(r"refused (input|attempts?)", "rejected event, access denial"),
    word(r"how things are|what it met|what waits|what is asked", "a noun"),
    word(r"our mistake|not here", "internal error, page not found"),
    word(r"second person (confirms|has confirmed)", "approval"),
    word(r"propose it|leave it|remember this", "review, discard, create rule"),
]
DOCUMENT_TEXTS = [
    word(r"questions?", "incident"),
    word(r"hellos?", "heartbeat"),
    word(r"waiting room", "triage"),
    word(r"whoever|whom", "a noun"),
    word(r"mend(s|ed)?", "repair, correct, resolve"),
    word(r"lives", "incarnations"),
    word(r"owes|owed|vouch(es)?|strangers?", "a word of the field"),
    word(r"stand(s|ing)? still", "quarantined"),
    word(r"refused (input|attempts?)", "rejected event, access denial"),
    word(r"quarantined? (input|message|row)s?", "rejected event"),
    word(r"reports? (is|are|was|were) (stored|kept|sent)", "event"),
]
DOCSTRINGS = [
    word(r"questions?", "incident"),
    word(r"hellos?", "heartbeat"),
    word(r"waiting room|crowds?", "triage"),
    word(r"whoever|whom", "a noun"),
    word(r"mend(s|ed|ing)?", "repair, correct, resolve"),
    word(r"lives", "incarnations; runs, lasts, belongs to"),
    word(r"owes?|owed|debts?", "outbox, must send"),
    word(r"strangers?|vouch(es)?", "unknown sender, access denial"),
    word(r"(stand|stands|standing|stood) still", "quarantined, blocked, frozen"),
    word(r"tall(y|ies)", "rollup"),
    word(r"speaks?|spoke|spoken", "a verb of the field: sends, connects, applies"),
    word(r"knows", "a verb of the field: has, finds, contains"),
    word(r"judg(e|es|ed|ing)", "evaluate, decide"),
    word(r"refused (input|attempts?)", "rejected event, access denial"),
    word(r"answered (continue|kill|stop)", "decided"),
]
"""For docstrings and comments: what a contributor reads."""
HEADINGS = [
    Replaced(r"^(what|who|how|when|why) ", "a noun that names the content"),
]
COMMITS = [
    Replaced(r"^(A|An|The|What|Whoever|Who|Where|No|Many) ", "an imperative: Add, Move, Fix"),
    Replaced(r"^[A-Z]\w+: [A-Z]?\w+ (is|are|was|were) ", "an imperative"),
]


ALLOWED = {
    # Fields of the contract: the API, live frames, metrics. Their names stay.
    *("hello_at", "hello_age_s", "heartbeat_last", "whole"),
    # Strategies of OTP, and template filters of their own meaning.
    *("ONE_FOR_ONE", "ONE_FOR_ALL", "REST_FOR_ONE", "one_line", "one_of"),
}


def wrong(where: str, text: str, patterns: list[Replaced]) -> list[str]:
    """What is wrong with ``text``, for a reader of the failure."""
    found = ((re.search(replaced.pattern, text, re.IGNORECASE), replaced.instead) for replaced in patterns)
    return [f"{where}: {match.group()!r} in {text[:80]!r}: say {instead}" for match, instead in found if match]


def modules() -> list[Path]:
    paths = [path for package in PRODUCT for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in paths if "migrations" not in path.parts]


def identifiers(path: Path) -> Iterator[str]:
    """The names that a module makes: its own, and of classes, functions, parameters, variables, fields and aliases."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
                yield name


def words(identifier: str) -> str:
    """``_SaidOnce``, ``said_once`` → ``said once``."""
    return re.sub(r"_+|(?<=[a-z0-9])(?=[A-Z])", " ", identifier).strip().lower()


def explanations(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the docstrings and comments of a module, without code in them."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, code_removed(text)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], code_removed(token.string)


def code_removed(text: str) -> str:
    return re.sub(r"`+[^`]*`+", "", text)


def prose(path: Path) -> str:
    """Without code blocks, code in the text, and addresses of links."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


def test_identifiers_use_the_vocabulary() -> None:
    made = {(path.relative_to(ROOT).as_posix(), name) for path in modules() for name in identifiers(path)}
    checked = sorted((where, name) for where, name in made if name not in ALLOWED)
    assert [line for where, name in checked for line in wrong(f"{where} {name}", words(name), IDENTIFIERS)] == []


def test_docstrings_and_comments_use_the_vocabulary() -> None:
    found = [(path.relative_to(ROOT).as_posix(), line, text) for path in modules() for line, text in explanations(path)]
    assert [mistake for where, line, text in found for mistake in wrong(f"{where}:{line}", text, DOCSTRINGS)] == []


def test_page_texts_use_the_vocabulary() -> None:
    texts = re.findall(r'^msgid(?:_plural)? ((?:".*"\n)+)', MESSAGES.read_text(), re.MULTILINE)
    joined = ["".join(re.findall(r'"(.*)"', text)) for text in texts]
    assert [mistake for text in joined for mistake in wrong(MESSAGES.name, text, PAGE_TEXTS)] == []


@pytest.mark.parametrize(
    "path",
    DOCUMENTS,
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_documents_use_the_vocabulary(path: Path) -> None:
    text = prose(path)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert [mistake for line in text.splitlines() for mistake in wrong(path.name, line, DOCUMENT_TEXTS)] == []
    assert [mistake for heading in headings for mistake in wrong(path.name, heading, HEADINGS)] == []


def test_commit_subjects_are_imperative_and_short() -> None:
    """Since the last version: what came before it stays as it is."""
    last = git("describe", "--tags", "--abbrev=0", "--match", "v*")
    if not last:
        pytest.skip("This checkout has no tag of a version.")
    subjects = git("log", "--no-merges", "--format=%s", f"{last}..").splitlines()
    assert [subject for subject in subjects if len(subject) > 72 or subject.endswith(".")] == []
    assert [mistake for subject in subjects for mistake in wrong("commit", subject, COMMITS)] == []


def git(*arguments: str) -> str:
    """What git prints; empty where it fails."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()
