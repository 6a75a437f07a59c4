from datetime import datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.domain.fingerprint import grouping
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level, Message
from errorkernel.senders.steward.protocol import go_dump, methods, text_parser, text_record
from errorkernel.senders.steward.protocol.repeats import Echoes, RepeatVerdict, Seen, Sending, judge, lateness_s
from errorkernel.senders.steward.protocol.text_parser import Understood
from errorkernel.senders.steward.protocol.text_record import Record
from errorkernel.senders.steward.protocol.text_templates import TEMPLATES, find
from tests.support.steward.texts import DUMP, EXAMPLES, UNREACHABLE

OTHER_METHODS = (
    *("REQOpProcessList", "REQErrorLog", "REQHello", "REQKeysRequestUpdate", "REQKeysDeliverUpdate", "REQKeysAllow"),
    *("REQAclRequestUpdate", "REQSUBCopySrc", "REQSUBCopyDst", "REQTuiToConsole", "REQNone"),
    *("opProcessStop", "errorLog", "hello", "keysUpdateRequest", "keysUpdateReceive", "keysAllow", "subCopySrc"),
    *("aclDeliverUpdate", "webUI", "helloPublisher"),
)
"""Methods of both projects that are not stopped or started from here."""
NO_METHOD = "error: newSubjectAndMessage : error: newSubjectAndMessage: no such request type defined: "


def understand(text: str, node: str = "ship1", **more: frozenset[str]) -> Understood:
    return text_parser.understand(text, node=node, req="REQ" in text, **more)


# The record


@pytest.mark.parametrize(
    ("data", "record"),
    [
        (
            "Fri Jan 21 06:15:26 2022, node: ship1, error: no\n",
            Record("error: no", "ship1", "", datetime(2022, 1, 21, 6, 15, 26)),
        ),
        (
            "Fri Jan  1 06:15:26 2022, node: ww.central, relayFromNode: hub, info: a, b\nc\n",
            Record("info: a, b\nc", "ww.central", "hub", datetime(2022, 1, 1, 6, 15, 26)),
        ),
        (
            "Fri Jan  1 06:15:26 2022, node: , relayFromNode: x",
            Record("relayFromNode: x", "", "", datetime(2022, 1, 1, 6, 15, 26)),
        ),
        ("Fri Feb 31 06:15:26 2022, node: a, b\n", Record("Fri Feb 31 06:15:26 2022, node: a, b")),
        ("Fri Xyz 11 06:15:26 2022, node: a, b\n", Record("Fri Xyz 11 06:15:26 2022, node: a, b")),
        ("Fri Jan 21 06:15:26 2022, node: a", Record("Fri Jan 21 06:15:26 2022, node: a")),
        ("something else\n", Record("something else")),
        ("", Record("")),
    ],
)
def test_a_record_is_taken_apart_or_kept_whole(data: str, record: Record) -> None:
    assert text_record.parse(data) == record


@given(st.text())
def test_any_text_is_a_record(data: str) -> None:
    assert text_record.parse(data).text in data


# Kinds, levels, causes


@pytest.mark.parametrize(("text", "cause", "type_"), EXAMPLES, ids=[text[:60] for text, _, _ in EXAMPLES])
def test_a_known_text_is_recognised_with_its_cause(text: str, cause: tuple[str, ...], type_: str) -> None:
    found = understand(text)
    assert found.fingerprint == ("steward", *cause)
    assert (found.kind, found.type) == (cause[0], type_)


def test_every_template_has_an_example() -> None:
    hit = {id(found[0]) for text, _, _ in EXAMPLES if (found := find(text))}
    missing = [template.text for template in TEMPLATES if id(template) not in hit]
    assert missing == ["error: subscriberHandler: {cause}doHandler=false{rest}"]


def test_the_level_is_the_nodes_own_where_the_prefix_says_something_else() -> None:
    levels = {
        "error: methodREQAclAddAccessList: method timed out: [a]": (EventType.INFO, Level.INFO),
        f"info: readFolder: message read from readFolder on a: {DUMP}": (EventType.INFO, Level.WARNING),
        "copyDstProcSubFunc: x": (EventType.ERROR, Level.ERROR),
        'jetstreamConsume: jetstream msg received: subject "a", data: "b"': (EventType.INFO, Level.DEBUG),
        "error: anything": (EventType.ERROR, Level.ERROR),
        "  info: anything": (EventType.INFO, Level.INFO),
        "neither": (EventType.ERROR, Level.WARNING),
    }
    assert {text: (found.type, found.level) for text in levels if (found := understand(text))} == levels
    assert understand("neither").prefix == ""


def test_a_wrapped_text_belongs_to_what_is_in_it() -> None:
    inner = "error: methodREQHttpGet: method timed out: [http://192.0.2.1/]"
    assert understand(text_parser.WRAPPER + inner).fingerprint == understand(inner).fingerprint
    assert understand(text_parser.WRAPPER * 2 + "info: x 7").type is EventType.INFO


def test_both_projects_and_all_nodes_share_a_cause() -> None:
    for one, other in [
        ("error: methodREQHttpGet: odd thing 17", "error: methodHttpGet: odd thing 4"),
        ("error: x on a.b.REQCliCommand.EventACK", "error: x on ship2.cliCommand"),
        ("error: x: sent to ship2", "error: x: sent to ww.central"),
        (f"error: odd: {DUMP}", "error: odd: {{} other [] 7 [1 2] x}"),
        ("error: odd, methodArgs: [a b]", "error: odd, methodArgs: []"),
        ("error: odd: [a b]", "error: odd: [b a]"),
        ('error: odd: "a b"', 'error: odd: "c"'),
    ]:
        nodes = frozenset({"ship2", "ww.central"})
        assert understand(one, nodes=nodes).fingerprint == understand(other, nodes=nodes).fingerprint, one
        assert understand(one, nodes=nodes).fingerprint != understand("error: odd", nodes=nodes).fingerprint
    assert understand("error: ship1 has gone", node="ship1") == understand("error: ship1 has gone", node="ship1")
    assert understand("error: ship1 has gone", node="ship1").fingerprint[2] == "error: <node> has gone"


def test_a_name_is_masked_only_where_it_stands_alone() -> None:
    assert text_parser.mask("a ab b. a.httpGet", "a", frozenset({"b"})) == "<node> ab <node>. httpGet"


def test_parts_of_a_masked_text_survive_our_own_json() -> None:
    found = understand("error: " + "long words " * 90)
    assert len(found.fingerprint) > 3
    assert all(len(part) <= 200 for part in found.fingerprint)


def test_the_operator_is_told_why_events_are_grouped() -> None:
    def why(text: str) -> str:
        found = understand(text)
        event = Event(uuid7(), found.type, found.level, "p", text, fingerprint=found.fingerprint)
        return grouping.group(event).why

    known = why("error: methodREQHttpGet: got <1 number methodArgs")
    assert known == "Known text of Steward: arguments missing · httpGet"
    assert "masking" in why("error: odd")


@given(st.text(max_size=300), st.sampled_from([text for text, _, _ in EXAMPLES]), st.integers(0, 100))
def test_any_text_can_be_understood(noise: str, text: str, at: int) -> None:
    for one in (noise, "error: " + noise, text[:at] + noise + text[at:], text[:at] + noise):
        found = understand(one)
        assert 2 <= len(found.fingerprint) <= 16
        assert all(len(part) <= 200 for part in found.fingerprint)


# The process


@pytest.mark.parametrize(
    ("text", "method", "certain"),
    [
        ("error: methodREQHttpGet: x", "REQHttpGet", False),
        ("error: methodHttpGet: x", "httpGet", False),
        ("error: methodREQToFile/Append: x", "REQToFile", False),
        ("error: methodToFile: x", "file", False),
        ("error: methodREQCopyFile: x", "REQCopyFileFrom", False),
        ("error: methodREQAclAddAccessList: x", "REQAclAddCommand", False),
        ("error: methodKeysRequestUpdate: x", "keysUpdateRequest", False),
        ("error: methodPortDst: x", "PortDst", False),
        ("error: methodREQKeysRequestUpdate: x", "REQKeysRequestUpdate", False),
        ("error: methodKeysReceiveUpdate : x", "keysUpdateReceive", False),
        ("error: copySrcSubHandler: x", "copySrc", False),
        ("error: copySrcSubProcFunc: failed to open file: x", "copySrc", False),
        ("error: copyDstSubProcFunc: x", "copyDst", False),
        ("copyDstProcSubFunc: x", "copyDst", False),
        ("error: portDstSubProcFunc: conn.Write failed. err=x", "PortDst", False),
        (
            "error: newSubjectAndMessage : error: newSubjectAndMessage: no such request type defined: REQNope, "
            f"message: {DUMP}",
            "REQHttpGet",
            True,
        ),
        ("info: method timeout reached REQTailFile, canceling: [a]", "REQTailFile", False),
        ("info: OpProcessStop: process stopped id: 1, method: {a httpGet} on: a", "httpGet", True),
        (
            "error: methodREQOpStopProcess failed to stop nats.Subscription: nats: invalid subscription, "
            "methodArgs: [REQHttpGet a subscriber]",
            "REQHttpGet",
            True,
        ),
        (text_parser.WRAPPER + "error: methodREQHttpGet: x", "REQHttpGet", False),
    ],
)
def test_a_label_gives_a_guess_at_the_process(text: str, method: str, certain: bool) -> None:
    found = understand(text).process
    assert found
    assert (found.method, found.certain) == (method, certain)


@pytest.mark.parametrize(
    "text",
    [
        "error: subscriberHandler: no such method type: REQNope",
        "error: spawnWorker: start procFunc failed: REQNope",
        "error: routeMessagesToProcess: the method do not exist, message dropped: REQNope",
        "error: newSubjectAndMessage: error: newSubjectAndMessage: no such request type defined: REQNope",
        "error: OpProcessStop: no such request type defined: REQNope, check that the methodArgs are correct: ",
        "error: readFolder: failed to open readFile from readFolder: REQNope",
        f"info: message read from socket on ship1: {DUMP}",
        "error: methodEventTextLogging: x",
        "error: something, methodArgs: [a]",
        "error: REQSUBCopyDst.1234: lost",
        UNREACHABLE.format(to="a", sender="b", method="REQCliCommand.EventACK", arg="c"),
        "",
    ],
)
def test_texts_of_the_node_itself_name_no_process(text: str) -> None:
    assert understand(text).process is None


def test_a_method_that_reports_under_anothers_label_is_named_as_well() -> None:
    found = understand("error: methodREQHttpGet: x").process
    assert found
    assert found.alternatives == ("REQHttpGetScheduled",)


def test_names_go_both_ways() -> None:
    for name in (*methods.SAFE_METHODS, *OTHER_METHODS):
        assert methods.spelled(methods.canonical(name), name.startswith("REQ")) == name


def test_the_same_unknown_method_is_one_problem_in_both_families() -> None:
    found = {
        understand(text).fingerprint
        for text in (
            f"{NO_METHOD}REQNope, message: {DUMP}",
            "error: newSubjectAndMessage: error: newSubjectAndMessage: no such request type defined: REQNope",
            "error: routeMessagesToProcess: the method do not exist, message dropped: nope",
            "error: OpProcessStart: no such request type defined: nope",
        )
    }
    assert len(found) == 1


def test_a_reply_that_was_written_is_no_error() -> None:
    found = understand("<nil>")
    assert (found.type, found.level, found.process) == (EventType.INFO, Level.DEBUG, None)


# The message in progress


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        (DUMP, Message(method="REQHttpGet", from_node="ek", to_node="ship2", data="http://x")),
        (
            "&{{} a.b [x y] 7 [72 105] REQCliCommand [bash -c [ -f x ] && y] [1 2 3]  [] true  60 0 false 10 0 0 10 "
            "0 d f <nil> [] <nil>}",
            Message(
                id="7", method="REQCliCommand", from_node="", to_node="a.b", data="bash -c [ -f x ] && y\nHi"
            ),
        ),
        (
            "{{} a []  3 [] httpGet [] [] fileAppend [c] false ek 5 0 false 1 5 2 10 10 d f <nil> [] false [] [] "
            "<nil>}",
            Message(id="3", method="httpGet", from_node="ek", to_node="a"),
        ),
        (
            "{{} a [] 0 [] REQPing [] REQPong [] false ek 5 1 0 0 10 0 d f <nil>      <nil>}",
            Message(method="REQPing", from_node="ek", to_node="a"),
        ),
    ],
    ids=["as printed", "with brackets in arguments and data", "of ctrl", "of January 2022, without a signature"],
)  # fmt: skip
def test_a_printed_message_is_read(dump: str, message: Message) -> None:
    assert go_dump.parse(f"error: x: {dump} and more") == message


@pytest.mark.parametrize("text", ["", "{{} ", DUMP[:60], DUMP.replace("false ek", "maybe ek"), "{{} a [] x [] m []"])
def test_what_is_no_whole_message_is_left_alone(text: str) -> None:
    assert go_dump.parse(text) is None


def test_a_text_with_arguments_tells_of_the_message_in_progress() -> None:
    found = understand("error: methodREQCliCommand: method timed out: [bash -c x]").message
    assert found == Message(method="REQCliCommand", to_node="ship1", data="bash -c x")
    found = understand(UNREACHABLE.format(to="a.b", sender="c", method="REQPing.EventACK", arg="d")).message
    assert found == Message(method="REQPing", from_node="c", to_node="a.b", data="bash -c d")
    assert understand("error: odd").message is None


def test_an_unreachable_node_is_what_the_text_is_about() -> None:
    assert understand(UNREACHABLE.format(to="a.b", sender="c", method="httpGet", arg="d")).about == "a.b"


# The same again

SEED = Sending(ack_timeout_s=60, retry_wait_s=0, retries=10, numbered=False)
STEW = Sending(ack_timeout_s=60, retry_wait_s=0, retries=10, numbered=True)


def verdicts(sending: Sending, *moments: float) -> list[RepeatVerdict]:
    """Of the same bytes, arriving at these moments."""
    seen: Seen | None = None
    found: list[RepeatVerdict] = []
    for now_s in moments:
        found.append(judge(seen, sending, now_s=now_s))
        seen = Seen(found[-1].occurrence, now_s)
    return found


def test_a_numbered_message_that_comes_again_is_a_retransmission_whenever() -> None:
    assert verdicts(STEW, 0, 0.1, 30, 60, 660, 10_000) == [RepeatVerdict(False, 0), *[RepeatVerdict(True, 0)] * 5]


def test_without_numbers_the_same_bytes_are_told_apart_by_when_they_come() -> None:
    assert verdicts(SEED, 0, 0.02, 0.04, 60.1, 120.2, 120.3) == [
        RepeatVerdict(False, 0),
        # Acknowledged, and the node sends the next one of that second.
        RepeatVerdict(False, 1),
        RepeatVerdict(False, 2),
        # That acknowledgement was lost.
        RepeatVerdict(True, 2),
        RepeatVerdict(True, 2),
        RepeatVerdict(False, 3),
    ]


QUICK = Sending(ack_timeout_s=5, retry_wait_s=0, retries=10, numbered=False)


@pytest.mark.parametrize(
    ("sending", "outage_s", "copies", "failures"),
    [
        (QUICK, 35, 8, 1),  # sent when it failed and every 5 s after, all of them kept by the node's client
        (SEED, 75, 2, 1),
        (QUICK, 35, 10, 3),  # two more failures of that second, sent after the first was acknowledged
        (QUICK, 300, 10, 1),  # given up after ten
        (QUICK, 300, 25, 3),  # the next failures of that second, given up as well
        (QUICK, 0, 5, 5),  # five failures in one second, no outage
        (SEED, 40, 5, 5),  # later than usual, but before it can have been repeated
    ],
)
def test_what_a_client_kept_in_an_outage_is_one_failure(
    sending: Sending, outage_s: float, copies: int, failures: int
) -> None:
    seen: Seen | None = None
    occurrences: list[int] = []
    for number in range(copies):
        now_s = outage_s + number * 0.001
        found = judge(seen, sending, now_s=now_s, late_s=now_s, highest=max(occurrences, default=-1))
        occurrences.append(found.occurrence)
        seen = Seen(found.occurrence, now_s, occurrences.count(found.occurrence), len(occurrences))
    assert len(set(occurrences)) == failures


@pytest.mark.parametrize(
    ("delay_s", "others", "late_s"),
    [
        (35, [], 35),
        (7235, [], 35),  # two hours east of UTC
        (-7165, [], 35),
        (-20, [], -20),  # its clock runs ahead
        (2_000_035, [], 0),  # its clock is weeks behind
        (635, [600, 640, 601], 35),  # its clock is ten minutes behind
    ],
)
def test_the_way_of_a_message_is_seen_whatever_the_clock_of_its_node(
    delay_s: float, others: list[float], late_s: float
) -> None:
    assert lateness_s(delay_s, others) == late_s


def test_a_node_that_never_sees_an_acknowledgement_reports_once() -> None:
    moments = [60.0 * number for number in range(11)]
    assert verdicts(SEED, *moments) == [RepeatVerdict(False, 0), *[RepeatVerdict(True, 0)] * 10]


def test_beyond_the_window_nothing_is_claimed() -> None:
    assert verdicts(SEED, 0, 721)[-1] == RepeatVerdict(False, 0)
    once = Sending(ack_timeout_s=0, retry_wait_s=0, retries=10, numbered=False)
    assert verdicts(once, 0, 0.5)[-1] == RepeatVerdict(False, 1)


def test_where_kernels_share_the_work_an_earlier_one_that_is_judged_later_is_another_failure() -> None:
    assert judge(None, SEED, now_s=0, highest=3) == RepeatVerdict(False, 4)
    assert judge(Seen(1, 0), SEED, now_s=0.1, highest=3) == RepeatVerdict(False, 4)
    assert judge(Seen(1, 0), SEED, now_s=60, highest=3) == RepeatVerdict(True, 1)


def test_the_memory_is_bounded() -> None:
    echoes = Echoes(limit=10)
    for number in range(100):
        echoes.belongs_to("n", uuid4(), [text_parser.Echo(str(number), "r")], now_s=0)
    assert len(echoes._made) == 10


# What one failure makes


def folded(echoes: Echoes, text: str, now_s: float, event: UUID | None = None, node: str = "ship1") -> UUID | None:
    first = echoes.belongs_to(node, event or uuid4(), understand(text).echoes, now_s=now_s)
    return first.event if first else None


PAIRS = [
    (
        "error: methodREQCliCommand: cmd.Run failed : signal: killed, methodArgs: [bash -c x], error_output: ",
        "error: methodREQCliCommand: method timed out: [bash -c x]",
    ),
    (
        'error: methodREQHttpGet: client.Do failed: Get "http://h/": no, bailing out: [http://h/]',
        "error: methodREQHttpGet: method timed out: [http://h/]",
    ),
    (
        f"error: methodREQHttpGet: not 200, were 404, bailing out: {DUMP}",
        "error: methodREQHttpGet: method timed out: [http://x]",
    ),
    (
        f"{NO_METHOD}REQA, message: {DUMP}",
        "error: routeMessagesToProcess: the method do not exist, message dropped: ",
    ),
    ("error: odd thing", text_parser.WRAPPER + "error: odd thing"),
    (
        "info: OpProcessStop: process stopped id: 15, method: {ship1 EventACK REQHttpGet 0xc0003083c0} on: ship1",
        "error: methodREQOpStopProcess failed to stop nats.Subscription: nats: invalid subscription, "
        "methodArgs: [REQHttpGet ship1 subscriber]",
    ),
]


@pytest.mark.parametrize("pair", [*PAIRS, *[(two, one) for one, two in PAIRS]], ids=lambda pair: pair[0][:30])
def test_the_texts_of_one_failure_are_one(pair: tuple[str, str]) -> None:
    echoes, first = Echoes(), uuid4()
    assert folded(echoes, pair[0], 0, first) is None
    second = uuid4()
    assert folded(echoes, pair[1], 10, second) == first
    # Delivered again, both get the same answer.
    assert folded(echoes, pair[1], 11, second) == first
    assert folded(echoes, pair[0], 12, first) is None
    # The next failure is one of its own, and so is another node's.
    third = uuid4()
    assert folded(echoes, pair[0], 13, third) is None
    assert folded(echoes, pair[1], 14) == third
    assert folded(echoes, pair[1], 14, node="ship2") is None


def test_texts_of_one_kind_are_failures_of_their_own() -> None:
    echoes = Echoes()
    for number in range(5):
        assert folded(echoes, "error: methodREQCliCommand: method timed out: [bash -c x]", number) is None


def test_texts_far_apart_are_not_one() -> None:
    echoes = Echoes()
    assert folded(echoes, PAIRS[0][0], 0) is None
    assert folded(echoes, PAIRS[0][1], 100) is None
