"""The query language: what it understands, what it refuses and where, and that stored and live mean the same."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from errorkernel.domain.query.fields import FIELDS
from errorkernel.domain.query.parse import (
    AGO_MAX_S,
    DEPTH_MAX,
    NUMBER_MAX,
    QUERY_MAX_CHARS,
    TERMS_MAX,
    QueryError,
    parse,
)
from errorkernel.domain.query.predicate import compile_predicate
from errorkernel.domain.query.tree import EVERYTHING, And, Compare, Identity, Not, OfType, Or, Pattern, Text, Time, Tree
from errorkernel.domain.releases import release_of
from errorkernel.domain.values import LEVEL_RANK, EventType, Level
from errorkernel.models import ErrorEvent, Node, Problem, Process
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.event_rows import stored as events_stored
from errorkernel.store.search import to_q
from tests.support.paths import ROOT

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ID = UUID("0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123")


def row(**given) -> EventRow:
    usual = {
        "seq": 1,
        "id": ID,
        "type": "error",
        "level": "error",
        "node": "ship1",
        "process": "copy-files",
        "incarnation": 7,
        "kind": "FileNotFoundError",
        "text": "open /data/a.tif: no such file",
        "message": {"id": "m1", "method": "REQCopySrc"},
        "occurred_at": None,
        "received_at": NOW,
        "problem": 42,
        "whole": 40,
        "incident": None,
        "repeat": 14,
        "tags": {"release": "1.4.2", "customer": "north"},
    }
    return EventRow(**(usual | given))


def finds(query: str, **given) -> bool:
    return compile_predicate(parse(query), NOW)(row(**given))


# --- Understanding ----------------------------------------------------------------------------------------------------


def test_the_query_of_the_handbook_becomes_this_tree():
    tree = parse('node:ship* level>=error process:copy text:"no such file" since:2h')
    assert tree == And(
        (
            Text("node", Pattern(("ship", ""))),
            Compare("level", ">=", LEVEL_RANK["error"]),
            Text("process", Pattern(("copy",))),
            Text("text", Pattern(("no such file",))),
            Time("since", 7200),
        )
    )


@pytest.mark.parametrize("blank", ["", "   ", "\t\n", "\xa0"])
def test_a_blank_query_is_everything(blank):
    assert parse(blank) == EVERYTHING
    assert str(EVERYTHING) == ""
    assert finds(blank)


def test_or_binds_looser_than_and_and_parentheses_bind_tightest():
    a, b, c = (Text(None, Pattern((word,))) for word in "abc")
    assert parse("a b OR c") == parse("a AND b OR c") == Or((And((a, b)), c))
    assert parse("a (b OR c)") == And((a, Or((b, c))))
    assert parse("-(a b) c") == parse("NOT (a b) c") == And((Not(And((a, b))), c))
    assert parse("((a b) c)") == And((a, b, c))
    assert parse("--a") == parse("NOT -a") == a


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ("NODE:x", Text("node", Pattern(("x",)))),
        ("node=x", Text("node", Pattern(("x",)))),
        ("kind:*Not**Found*", Text("kind", Pattern(("", "Not", "Found", "")))),
        ('kind:"*"', Text("kind", Pattern(("*",)))),
        (r"kind:\*", Text("kind", Pattern(("*",)))),
        (r"text:C:\temp\new", Text("text", Pattern((r"C:\temp\new",)))),
        (r"text:a\(c\)", Text("text", Pattern(("a(c)",)))),
        ('process:"copy files"*', Text("process", Pattern(("copy files", "")))),
        ('text:no*"such file"*""*!', Text("text", Pattern(("no", "such file", "!")))),
        ('"-x"*', Text(None, Pattern(("-x", "")))),
        (r'text:"say \"hi\" in C:\\"', Text("text", Pattern(('say "hi" in C:\\',)))),
        ('kind:""', Text("kind", Pattern(("",)))),
        ("or", Text(None, Pattern(("or",)))),
        ('"OR"', Text(None, Pattern(("OR",)))),
        ('"-x"', Text(None, Pattern(("-x",)))),
        ("-", Text(None, Pattern(("-",)))),
        ('"node:x"', Text(None, Pattern(("node:x",)))),
        ("level:ERROR", Compare("level", "=", LEVEL_RANK["error"])),
        ("release:1.4*", Text("release", Pattern(("1.4", "")))),
        ("TAG.Mount:/data", Text("tag.Mount", Pattern(("/data",)))),
        ("tag.a.b-c:1", Text("tag.a.b-c", Pattern(("1",)))),
        ("repeat>10", Compare("repeat", ">", 10)),
        ("problem:42", Compare("problem", "=", 42)),
        ("type:action", OfType(EventType.ACTION)),
        ("incident:*", Identity("incident", None)),
        (f"incident:{ID}", Identity("incident", ID)),
        (f"id:{str(ID).upper()}", Identity("id", ID)),
        ("since:7d", Time("since", 7 * 86400)),
        ("until:2026-11-24", Time("until", datetime(2026, 11, 24, tzinfo=UTC))),
        ("until:2026-11-24T10:00:01.5+02:00", Time("until", datetime(2026, 11, 24, 8, 0, 1, 500_000, tzinfo=UTC))),
        ('since:"2026-11-24 10:00"', Time("since", datetime(2026, 11, 24, 10, tzinfo=UTC))),
    ],
)
def test_spellings(query, tree):
    assert parse(query) == tree
    assert parse(str(tree)) == tree


@pytest.mark.parametrize(
    ("query", "spelled"),
    [
        ("NOT node=a  AND (b)", "-node:a b"),
        ('kind:"a"', "kind:a"),
        ('text:"no such file"', 'text:"no such file"'),
        ("since:120m until:14d", "since:2h until:2w"),
        ("since:2026-11-24T00:00Z", "since:2026-11-24"),
        ("(a OR b) (c OR (d OR e))", "(a OR b) (c OR d OR e)"),
    ],
)
def test_a_tree_is_spelled_as_briefly_as_can_be(query, spelled):
    assert str(parse(query)) == spelled


# --- Refusing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "position", "says"),
    [
        ("a nod:x", 2, 'Did you mean "node"?'),
        ("release>1", 7, "does not support >"),
        ("http://host", 0, "quote it"),
        ("a level>=eror", 9, 'Did you mean "error"?'),
        ("level:*", 6, "does not support *"),
        ("type:question", 5, "one of error, info, action"),
        ("node>=a", 4, "does not support >="),
        ("node!=a", 4, "-node:"),
        ("text=a", 4, "does not support ="),
        ("node: ship1", 5, "value is missing"),
        ("a level >= error", 8, "without spaces"),
        ("text:(a OR b)", 5, "value is missing"),
        ("repeat>many", 7, "whole number"),
        (f"repeat>{NUMBER_MAX + 1}", 7, "whole number"),
        ("repeat>٣", 7, "whole number"),
        ("problem:-1", 8, "whole number"),
        ("incident:123", 9, "complete id"),
        ("since:yesterday", 6, "needs a time"),
        ("since:2026-02-30", 6, "not a valid time"),
        ("since:0001-01-01T00:00+02:00", 6, "not a valid time"),
        ("since:999999999999w", 6, "too long ago"),
        ('a "b', 2, "not closed"),
        ('a "b"c', 5, "Put a space after"),
        ('a"b"', 1, "Put quotes around"),
        ("open()", 4, "Put quotes around"),
        ("(a (b)", 0, "not closed"),
        ("(a)b", 3, "Put a space after"),
        ("a )", 2, "has no opening one"),
        ("()", 1, "missing before )"),
        ("a OR", 4, "missing at the end"),
        ("OR a", 0, "missing before OR"),
        ("a AND OR b", 6, "missing before OR"),
        ("a NOT", 5, "missing at the end"),
        ('""', 0, "match everything"),
        ("a\\", 1, "backslash at the end"),
        ("a\\ b", 1, "quote a value with spaces"),
        ("a\0", 1, "cannot be searched"),
        ("a\ud800", 1, "cannot be searched"),
        ("a" * (QUERY_MAX_CHARS + 1), QUERY_MAX_CHARS, "at most 1,000"),
        ("a " * (TERMS_MAX + 1), 2 * TERMS_MAX, "at most 50 terms"),
        ("(" * 1000, DEPTH_MAX + 1, "at most 20 levels deep"),
        ("-" * 999 + "a", DEPTH_MAX + 1, "at most 20 levels deep"),
    ],
)
def test_a_mistake_is_named_with_its_place(query, position, says):
    with pytest.raises(QueryError) as caught:
        parse(query)
    assert says in str(caught.value)
    assert caught.value.position == position


def test_a_suggestion_is_there_for_programs_too():
    with pytest.raises(QueryError) as caught:
        parse("proces:copy")
    assert caught.value.suggestion == "process"


def test_what_is_just_within_the_limits_is_understood():
    assert parse("a" * QUERY_MAX_CHARS)
    assert len(parse("a " * TERMS_MAX).parts) == TERMS_MAX
    assert parse("(" * DEPTH_MAX + "a" + ")" * DEPTH_MAX)
    assert parse(f"since:{AGO_MAX_S}s") == Time("since", AGO_MAX_S)
    assert parse(f"repeat<={NUMBER_MAX}") == Compare("repeat", "<=", NUMBER_MAX)


def _read(text: str) -> tuple[Tree, None] | tuple[None, QueryError]:
    try:
        return parse(text), None
    except QueryError as exc:
        return None, exc


_SCRAPS = ["node", "text:", "level>=", "error", "since:", "2h", "incident:", str(ID), "2026-11-24", "T10:00"]
_SCRAPS += ["OR", "AND", "NOT", "-", "(", ")", '"', "\\", "*", " ", ":", "=", ">", "!", "a", "é"]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_SCRAPS), max_size=25).map("".join)))
@settings(max_examples=1500, deadline=None)
@example('"a\\\\"')
@example('a\\*b* "-"*')
def test_any_text_gives_a_tree_that_spells_itself_or_an_error_within_the_text(text):
    tree, mistake = _read(text)
    if mistake is not None:
        assert 0 <= mistake.position <= len(text)
        assert mistake.message.endswith((".", "?", "…"))
        return
    assert parse(str(tree)) == tree
    assert len(str(tree)) <= len(text), "what fits the limits must fit them in its own spelling"
    assert isinstance(compile_predicate(tree, NOW)(row()), bool)


# --- Matching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("node:SHIP1", True),
        ("node:ship", False),
        ("node:ship*", True),
        ("node:*1", True),
        ("node:s*p*1", True),
        ("node:ship1*1", False),
        ("process:copy", False),
        ("process:copy*", True),
        ("text:NO", True),
        ("text:open*file", True),
        ("text:file*open", False),
        ("notfound", True),
        ("such", True),
        ("kind:*NotFound*", True),
        ("method:reqcopysrc", True),
        ("level>=error", True),
        ("level>error", False),
        ("level<critical", True),
        ("release:1.4.2", True),
        ("release:1.4", False),
        ("release:1.4*", True),
        ("tag.customer:NORTH", True),
        ("tag.Customer:north", False),
        ("tag.release:1.4.2", True),
        ("-tag.none:*", True),
        ('tag.none:""', True),
        ("repeat>=14", True),
        ("repeat<14", False),
        ("problem:42", True),
        ("problem:41", False),
        ("problem:40", True),
        ("incident:*", False),
        (f"id:{ID}", True),
        ("since:0s", True),
        ("until:0s", False),
        ("since:2026-11-24T12:00:01", False),
        ("-node:ship1", False),
        ("node:x OR such", True),
    ],
)
def test_a_live_event_is_found_or_not(query, found):
    assert finds(query) is found


def test_an_event_without_message_has_no_method():
    assert finds('method:""', message=None)
    assert finds("-method:*", message=None)
    assert finds("-method:REQ*", message=None)
    assert not finds('method:""')


def test_an_event_is_found_by_its_incident():
    asked = {"type": "action", "incident": ID}
    assert finds("incident:*", **asked)
    assert finds(f"incident:{ID}", **asked)
    assert not finds("incident:0193b0de-5c6f-7a3b-8f10-000000000000", **asked)


def test_many_stars_on_a_long_text_stay_fast():
    predicate = compile_predicate(parse("text:" + "a*" * 400 + "b"), NOW)
    long = row(text="a" * 64_000)
    began = datetime.now(UTC)
    assert not predicate(long)
    assert datetime.now(UTC) - began < timedelta(seconds=1)


# --- Stored and live mean the same ------------------------------------------------------------------------------------

_ALPHABET = 'aAbB%_*\\éÉ "('
_texts = st.text(_ALPHABET, max_size=6)


def _typed(literal: str) -> str:
    """A literal as somebody may type it in quotes."""
    return '"' + literal.replace("\\", "\\\\").replace('"', '\\"') + '"'


_pieces = st.text("aAbB%_é", max_size=2) | _texts.map(_typed)
_values = st.lists(_pieces, min_size=1, max_size=4).map("*".join).filter(bool)
_times = st.one_of(st.integers(0, 200).map("{}s".format), st.integers(0, 59).map("2026-11-24T11:{:02}".format))
_OPS = [":", "=", ">", "<", ">=", "<="]
_LEVELS = [level.value for level in Level]
_TAGS = ["release", "a", "7", "A.b-c"]
_ids = st.integers(1, 4).map(lambda number: UUID(int=number))
_terms = st.one_of(
    st.builds("{}:{}".format, st.sampled_from(["node", "process", "kind", "method", "text"]), _values),
    _values.filter(lambda value: value != '""'),
    st.builds(
        "level{}{}".format,
        st.sampled_from([":", ">", "<", ">=", "<="]),
        st.sampled_from([level.value for level in Level]),
    ),
    st.builds("repeat{}{}".format, st.sampled_from(_OPS), st.integers(0, 4)),
    st.builds("{}:{}".format, st.sampled_from(["release", *(f"tag.{name}" for name in _TAGS)]), _values),
    st.builds("type:{}".format, st.sampled_from([one.value for one in EventType])),
    st.builds(
        "{}:{}".format, st.sampled_from(["id", "incident"]), st.integers(1, 4).map(lambda number: UUID(int=number))
    ),
    st.builds("problem:{}".format, st.integers(1, 3)),
    st.just("incident:*"),
    st.builds("{}:{}".format, st.sampled_from(["since", "until"]), _times),
)
_queries = st.recursive(
    _terms,
    lambda inner: st.one_of(
        st.builds("-({})".format, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("({} {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
    ),
    max_leaves=6,
)
_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from([one.value for one in EventType]),
        "level": st.sampled_from(_LEVELS),
        "place": st.integers(0, 5),
        "problem": st.integers(1, 3),
        "kind": _texts,
        "text": _texts,
        "message": st.none() | st.builds(lambda method: {"id": "m", "method": method}, _texts) | st.just({"id": "m"}),
        "repeat": st.integers(1, 4),
        "tags": st.dictionaries(st.sampled_from(_TAGS), _texts, max_size=2),
        "ago_s": st.integers(0, 3600) | st.sampled_from([1, 2, 3]),
    }
)
_PLACES = [("a", "Ab"), ("A", "ab"), ("ab", "a_b"), ("a%", "é"), ("É", "a\\b"), ("aXb", '"')]


@pytest.fixture
def places(db) -> list[Process]:
    processes = []
    for node_name, name in _PLACES:
        node = Node.objects.create(name=node_name)
        processes.append(Process.objects.create(node=node, name=name, first_seen=NOW, last_seen=NOW))
    seen = {"first_seen": NOW, "last_seen": NOW}
    for number in (1, 2, 3):
        Problem.objects.create(
            pk=number, fingerprint=str(number), title="t", why="w", level="error", level_rank=3, **seen
        )
    Problem.objects.filter(pk=3).update(merged_into=2)
    return processes


def _store(events: list[dict], places: list[Process]) -> None:
    ErrorEvent.objects.all().delete()
    ErrorEvent.objects.bulk_create(_stored(number, places, **event) for number, event in enumerate(events, 1))


def _stored(
    seq: int, places: list[Process], *, place: int, level: str, problem: int, ago_s: int, tags: dict, **given
) -> ErrorEvent:
    return ErrorEvent(
        seq=seq,
        id=UUID(int=seq),
        node=places[place].node,
        process=places[place],
        problem_id=problem,
        level=level,
        level_rank=LEVEL_RANK[level],
        received_at=NOW - timedelta(seconds=ago_s),
        tags=tags,
        release=release_of(tags) or None,
        **given,
    )


@given(events=st.lists(_events, min_size=1, max_size=8), queries=st.lists(_queries, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_stored_search_finds_what_the_live_filter_lets_through(places, events, queries):
    _store(events, places)
    stored = [EventRow.of(event) for event in events_stored()]
    for query in queries:
        tree = parse(query)
        live = compile_predicate(tree, NOW)
        found = set(ErrorEvent.objects.filter(to_q(tree, NOW)).values_list("seq", flat=True))
        assert found == {one.seq for one in stored if live(one)}, query


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text:50%", {1}),
        ("text:a_b", {3}),
        (r"text:C:\temp", {4}),
        (r"text:*50*disk*", {1, 2}),
        ("text:Größe", {5}),
        ("text:GRöSSE OR text:GRÖẞE", set()),
        ("method:copy", {2}),
        ("-method:copy", {1, 3, 4, 5}),
        ("", {1, 2, 3, 4, 5}),
    ],
)
def test_signs_that_mean_something_to_the_database_mean_nothing_to_a_query(places, query, found):
    texts = ["50% of disk", "500 of disk", "a_b", r"C:\temp", "Größe axb"]
    blank = {"type": "error", "level": "error", "place": 0, "problem": 1, "kind": "", "repeat": 1, "ago_s": 0}
    _store(
        [
            blank | {"text": text, "tags": {}, "message": {"method": "Copy"} if "500" in text else None}
            for text in texts
        ],
        places,
    )
    assert set(ErrorEvent.objects.filter(to_q(parse(query), NOW)).values_list("seq", flat=True)) == found


def test_a_query_at_its_limits_is_one_the_database_takes(places):
    blank = {"type": "error", "level": "error", "place": 0, "problem": 1, "kind": "", "repeat": 1, "ago_s": 0}
    _store([blank | {"text": "b%%b", "tags": {}, "message": None}], places)
    wide = " ".join(f"(text:*{'%' * 8}*a OR -node:x*)" for _ in range(TERMS_MAX // 2))
    deep = "NOT (" * (DEPTH_MAX // 2) + "b" + ")" * (DEPTH_MAX // 2)
    for query in (wide, deep, "-text:" + "%*" * 400, f"repeat<={NUMBER_MAX} -problem:{NUMBER_MAX} since:{AGO_MAX_S}s"):
        assert ErrorEvent.objects.filter(to_q(parse(query), NOW)).exists(), query


@pytest.mark.parametrize(
    "query", ["node:É", "process:ab -node:x", "node:a%", "node:ab OR process:é", "-node:É", "node:a*", "problem:2"]
)
def test_the_newest_events_are_found_without_sorting_all_that_match(places, query):
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plan")
    plan = events_stored().filter(to_q(parse(query), NOW)).order_by("-seq")[:50].explain()
    assert "TEMP B-TREE" not in plan, plan


def test_the_events_of_one_node_are_found_by_index(places):
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's plan")
    plan = ErrorEvent.objects.filter(to_q(parse("node:É level:error"), NOW)).order_by("-seq")[:50].explain()
    assert "event_node_seq (node_id=?)" in plan, plan


def test_the_events_of_one_release_are_found_by_index(places):
    blank = {"type": "error", "level": "error", "place": 0, "problem": 1, "kind": "", "repeat": 1, "ago_s": 0}
    tags = [{"release": "1.4.2-rc"}, {"release": "2.0"}, {"release": "1.4.2-RC"}, {}]
    _store([blank | {"text": "", "message": None, "tags": one} for one in tags], places)
    for query, found in {
        "release:1.4.2-rc": {1, 3}, "release:2*": {2}, "release:*": {1, 2, 3}, 'release:""': {4},
        "-release:2.0": {1, 3, 4},
    }.items():  # fmt: skip
        wanted = ErrorEvent.objects.filter(to_q(parse(query), NOW)).order_by("-seq")[:50]
        assert {one.seq for one in wanted} == found, query
        if connection.vendor == "sqlite":
            assert "TEMP B-TREE" not in wanted.explain()
            assert ("event_release_seq (release=?)" in wanted.explain()) is (query == "release:2*")


# --- The page that explains it ----------------------------------------------------------------------------------------

DOCS = ROOT / "docs" / "search-syntax.md"


def test_every_field_is_documented_and_its_example_is_understood():
    page = DOCS.read_text()
    for name, field in FIELDS.items():
        operators = " ".join(f"`{operator}`" for operator in field.operators)
        assert f"| `{name}` | {operators} |" in page, f"docs/search-syntax.md does not say this of {name}"
        assert f"`{field.example}` |" in page
        assert str(parse(field.example)).startswith(name.removesuffix("NAME"))


def test_every_query_on_the_page_is_understood():
    blocks = DOCS.read_text().split("```query\n")[1:]
    queries = [line for block in blocks for line in block.split("```")[0].splitlines() if line.strip()]
    assert len(queries) > 10
    for query in queries:
        assert parse(query) != EVERYTHING
