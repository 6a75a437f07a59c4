"""Parses a query into its tree: a recursive descent that stops at the first mistake and reports its position.

The grammar, loosest first::

    either   = both { "OR" both }
    both     = single { [ "AND" ] single }
    single   = ( "-" | "NOT" ) single | "(" either ")" | term
    term     = [ field operator ] value
    value    = piece { "*" piece }   (a piece is quoted or bare or nothing; the star stands for any characters)
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.problem_state import ProblemState
from errorkernel.domain.query.fields import FIELDS, INCIDENT_FIELDS, PROBLEM_FIELDS, TAG, TAG_FIELD, Field
from errorkernel.domain.query.tree import (
    AGO_UNITS,
    BARE_SPECIAL,
    BLANKS,
    EVERYTHING,
    FIELD,
    KEYWORD,
    LEVELS,
    And,
    Compare,
    Identity,
    Not,
    OfType,
    Or,
    Pattern,
    Term,
    Text,
    Time,
    Tree,
)
from errorkernel.domain.values import LEVEL_RANK, EventType

QUERY_MAX_CHARS = 1000
TERMS_MAX = 50
DEPTH_MAX = 20
"""Parentheses and negations inside each other."""
NUMBER_MAX = 2**63 - 1
"""Maximum of a database column."""
AGO_MAX_S = 36500 * 86400

# The database cannot store NUL nor encode surrogates.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


class QueryError(ValueError):
    """A query that cannot be understood.

    ``message`` is a sentence for the user, ``position`` the 0-based index of the character where the mistake
    is (at most the length of the query), ``suggestion`` the word that was probably meant, or None.
    """

    def __init__(self, message: str, position: int, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.suggestion = suggestion


def parse(text: str, fields: Mapping[str, Field] = FIELDS) -> Tree:
    """The tree of a query with these ``fields``; EVERYTHING for a blank query.

    Raises QueryError, and nothing else, for any other text.
    """
    if len(text) > QUERY_MAX_CHARS:
        raise QueryError(_("A query has at most {most} characters.", most=QUERY_MAX_CHARS), QUERY_MAX_CHARS)
    if found := _UNUSABLE.search(text):
        raise QueryError(_("This character cannot be searched for."), found.start())
    return _Parser(text, fields).whole()


class _Parser:
    """Recursive descent over one query; ``at`` is the index of the next character."""

    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self.text = text
        self.fields = fields
        self.at = 0
        self.terms = 0

    def whole(self) -> Tree:
        if not self._next():
            return EVERYTHING
        tree = self._either(0)
        if self._next():
            raise QueryError(_("This closing parenthesis has no opening one."), self.at)
        return tree

    def _next(self, skip: str = BLANKS) -> str:
        """The next character that is not in ``skip``, or "" at the end; ``at`` is moved to it."""
        while self.at < len(self.text) and self.text[self.at] in skip:
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _keyword(self) -> str:
        found = KEYWORD.match(self.text, self.at) if self._next() else None
        return found.group() if found else ""

    def _either(self, depth: int) -> Tree:
        parts = [self._both(depth)]
        while self._keyword() == "OR":
            self.at += len("OR")
            parts.append(self._both(depth))
        return _joined(Or, parts)

    def _both(self, depth: int) -> Tree:
        parts = [self._single(depth)]
        while self._next() not in ("", ")") and (word := self._keyword()) != "OR":
            if word == "AND":
                self.at += len("AND")
            parts.append(self._single(depth))
        return _joined(And, parts)

    def _single(self, depth: int) -> Tree:
        char, start, word = self._next(), self.at, self._keyword()
        if depth > DEPTH_MAX:
            raise QueryError(
                _("Parentheses and negations can be nested at most {most} levels deep.", most=DEPTH_MAX), start
            )
        if word == "NOT" or (char == "-" and self.text[start + 1 : start + 2] not in (*BLANKS, ")", "")):
            self.at += len(word or char)
            part = self._single(depth + 1)
            return part.part if isinstance(part, Not) else Not(part)
        if char in ("", ")") or word:
            raise QueryError(_missing_before(word or char), start)
        if char == "(":
            self.at += 1
            return self._closed(self._either(depth + 1), start)
        return self._term()

    def _closed(self, tree: Tree, opened_at: int) -> Tree:
        if self._next() != ")":
            raise QueryError(_("This parenthesis is not closed."), opened_at)
        self.at += 1
        self._end_of_word(_("Put a space after a closing parenthesis."))
        return tree

    def _term(self) -> Term:
        self.terms += 1
        start = self.at
        if self.terms > TERMS_MAX:
            raise QueryError(_("A query has at most {most} terms.", most=TERMS_MAX), start)
        if found := FIELD.match(self.text, start):
            return self._field_term(found.group(1), found.group(2), found.end())
        if self.text[start] in ":=<>":
            raise QueryError(
                _(
                    "A field name is missing before this operator. Write the term without spaces, as in "
                    "level>=error, or quote it to search for it as text."
                ),
                start,
            )
        pattern = self._value()
        if pattern.empty:
            raise QueryError(_("Empty quotes match everything. Remove them."), start)
        return Text(None, pattern)

    def _field_term(self, given: str, op: str, value_at: int) -> Term:
        start, name = self.at, _field_name(given)
        field = self.fields.get(TAG_FIELD if name.startswith(TAG) else name)
        if field is None:
            near = next(iter(difflib.get_close_matches(name, self.fields, n=1)), None)
            raise QueryError(_no_field(given, near, self.fields), start, near)
        if op not in field.operators:
            raise QueryError(_no_operator(name, op, field), start + len(given))
        self.at = value_at
        char = self.text[value_at : value_at + 1]
        if char == "" or char in BLANKS + "()":
            raise QueryError(
                _("A value is missing right after {term}, as in {example}.", term=given + op, example=field.example),
                value_at,
            )
        return _TERMS.get(name, _text_term)(name, op, self._value(), value_at)

    def _value(self) -> Pattern:
        """Pieces, bare or in quotes, with stars between them."""
        parts = [self._piece()]
        while self.text[self.at : self.at + 1] == "*":
            self.at += 1
            piece = self._piece()
            if parts[-1] or len(parts) == 1:
                parts.append(piece)
            else:  # two stars in a row are one
                parts[-1] = piece
        return Pattern(tuple(parts))

    def _piece(self) -> str:
        return self._quoted() if self.text[self.at : self.at + 1] == '"' else self._bare()

    def _quoted(self) -> str:
        start, out = self.at, []
        self.at += 1
        while (char := self.text[self.at : self.at + 1]) != '"':
            if char == "":
                raise QueryError(_('This quote is not closed. Write \\" for a quote inside quotes.'), start)
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in ('"', "\\"):
                self.at += 1
                char = self.text[self.at]
            out.append(char)
            self.at += 1
        self.at += 1
        if self.text[self.at : self.at + 1] != "*":
            self._end_of_word(_("Put a space after a closing quote."))
        return "".join(out)

    def _bare(self) -> str:
        out = []
        while (char := self.text[self.at : self.at + 1]) != "" and char not in BLANKS + ")*":
            if char in '("':
                raise QueryError(
                    _("Put quotes around a value that holds {sign}, or \\ before the sign.", sign=char), self.at
                )
            out.append(self._unescaped() if char == "\\" else char)
            self.at += 1
        return "".join(out)

    def _unescaped(self) -> str:
        """The character for the backslash at ``at``: the backslash itself, unless it escapes the next character."""
        following = self.text[self.at + 1 : self.at + 2]
        if following == "" or following in BLANKS:
            raise QueryError(_("Write \\\\ for a backslash at the end, and quote a value with spaces."), self.at)
        if following == "\\" or following in BARE_SPECIAL:
            self.at += 1
            return following
        return "\\"

    def _end_of_word(self, otherwise: str) -> None:
        if self.text[self.at : self.at + 1] not in ("", ")", *BLANKS):
            raise QueryError(otherwise, self.at)


def _field_name(given: str) -> str:
    """In lower case, but for the name of a tag."""
    return TAG + given[len(TAG) :] if given[: len(TAG)].lower() == TAG else given.lower()


def _missing_before(word: str) -> TranslatableText:
    if word:
        return _("A search term is missing before {word}.", word=word)
    return _("A search term is missing at the end.")


def _no_field(given: str, near: str | None, fields: Iterable[str]) -> TranslatableText:
    if near:
        return _(
            'Unknown field "{given}". Did you mean "{near}"? To search for it as text, quote it.',
            given=given,
            near=near,
        )
    return _(
        'Unknown field "{given}". Fields are {known}. To search for it as text, quote it.',
        given=given,
        known=", ".join(fields),
    )


def _no_operator(name: str, op: str, field: Field) -> TranslatableText:
    if op == "!=":
        return _('"{name}" does not support !=. To exclude a value, put - before the term: -{name}:…', name=name)
    return _(
        '"{name}" does not support {op}. Use {known}, as in {example}.',
        name=name,
        op=op,
        known=" ".join(field.operators),
        example=field.example,
    )


def _joined(kind: type[And] | type[Or], parts: list[Tree]) -> Tree:
    """One tree of ``parts``, as flat as it can be: "(a b) c" is "a b c"."""
    if len(parts) == 1:
        return parts[0]
    return kind(tuple(inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))))


def _example(name: str) -> str:
    return (FIELDS | INCIDENT_FIELDS | PROBLEM_FIELDS)[name].example


def _literal(name: str, pattern: Pattern, at: int) -> str:
    if not pattern.literal:
        raise QueryError(
            _(
                '"{name}" does not support *. Write the complete value, as in {example}.',
                name=name,
                example=_example(name),
            ),
            at,
        )
    return pattern.parts[0]


def _text_term(name: str, _op: str, pattern: Pattern, _at: int) -> Term:
    return Text(name, pattern)


def _word_of(name: str, words: list[str], pattern: Pattern, at: int) -> str:
    given = _literal(name, pattern, at)
    if given.lower() in words:
        return given.lower()
    near = next(iter(difflib.get_close_matches(given.lower(), words, n=1)), None)
    if near:
        raise QueryError(
            _('"{given}" is not a valid {name}. Did you mean "{near}"?', given=given, name=name, near=near), at, near
        )
    known = ", ".join(words)
    raise QueryError(_('"{given}" is not a valid {name}. Use one of {known}.', given=given, name=name, known=known), at)


def _level_term(name: str, op: str, pattern: Pattern, at: int) -> Term:
    return Compare(name, "=" if op == ":" else op, LEVEL_RANK[_word_of(name, LEVELS, pattern, at)])


def _state_term(name: str, _op: str, pattern: Pattern, at: int) -> Term:
    return Text(name, pattern if pattern.filled else Pattern((_word_of(name, list(ProblemState), pattern, at),)))


def _type_term(name: str, _op: str, pattern: Pattern, at: int) -> Term:
    return OfType(EventType(_word_of(name, [event_type.value for event_type in EventType], pattern, at)))


def _number_term(name: str, op: str, pattern: Pattern, at: int) -> Term:
    given = _literal(name, pattern, at)
    if not re.fullmatch("[0-9]+", given) or int(given) > NUMBER_MAX:
        raise QueryError(_('"{name}" needs a whole number, as in {example}.', name=name, example=_example(name)), at)
    return Compare(name, "=" if op == ":" else op, int(given))


_ID = "{}:0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123"
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _identity_term(name: str, _op: str, pattern: Pattern, at: int) -> Term:
    if name == "incident" and pattern.filled:
        return Identity(name, None)
    given = _literal(name, pattern, at)
    if not _UUID.fullmatch(given):
        raise QueryError(_('"{name}" needs a complete id, as in {example}.', name=name, example=_ID.format(name)), at)
    return Identity(name, UUID(given))


_AGO = re.compile("([0-9]{1,12})([smhdw])")
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def _time_term(name: str, _op: str, pattern: Pattern, at: int) -> Term:
    given = _literal(name, pattern, at)
    if found := _AGO.fullmatch(given):
        seconds = int(found.group(1)) * AGO_UNITS[found.group(2)]
        if seconds <= AGO_MAX_S:
            return Time(name, seconds)
        raise QueryError(_("That is too long ago; the maximum is 100 years."), at)
    if _ISO.fullmatch(given):
        try:
            moment = datetime.fromisoformat(given)
            return Time(name, moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
        except (ValueError, OverflowError):
            raise QueryError(_('"{given}" is not a valid time.', given=given), at) from None
    raise QueryError(
        _('"{name}" needs a time such as 30s, 5m, 2h, 7d, 2026-11-24 or 2026-11-24T10:00 (UTC).', name=name), at
    )


_TERMS: dict[str, Callable[[str, str, Pattern, int], Term]] = {
    **dict.fromkeys(("repeat", "consecutive", "problem", "times", "nodes", "pending"), _number_term),
    **dict.fromkeys(("incident", "id"), _identity_term),
    **dict.fromkeys(("since", "until"), _time_term),
    "level": _level_term,
    "type": _type_term,
    "state": _state_term,
}
