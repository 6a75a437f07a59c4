"""The documents say what the code does: what can be compared is compared, links lead somewhere, code compiles."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands

from errorkernel.domain.incident_state import TRANSITIONS, State
from errorkernel.domain.limits import Limits
from errorkernel.domain.query.parse import parse
from errorkernel.domain.values import Action, EventType, Level, OnDeadline, OutcomeState
from errorkernel.node.run import options as run_options
from errorkernel.platform import conf, metrics
from errorkernel.protocol import batches, commands, subjects
from errorkernel.protocol import json_codec as wire
from errorkernel.protocol import sync as sync_wire
from errorkernel.senders.steward.protocol.layout import LAYOUTS
from errorkernel.senders.steward.protocol.methods import SAFE_METHODS
from errorkernel.senders.steward.protocol.subjects import ERROR_SUBJECTS
from errorkernel.web.health import checks
from tests.support.node_peer import program_env, unreachable, written
from tests.support.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, title: str) -> str:
    """The text below ``## title`` of a document, to the next heading of that rank."""
    return re.split(r"^## ", read(name).split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def blocks(name: str, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(read(name)) if found == language]


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_setting_is_documented_with_its_default() -> None:
    described = {variable: shown for variable, shown, _ in conf.describe(conf.load({"HOME": "/home/you"}))}
    rows = dict(re.findall(r"^\| `(STEWARD_\w+)` \| `?([^|`]*?)`? \|", section("docs/reference.md", "Settings"), re.M))
    assert rows.keys() == described.keys()
    assert rows.pop("STEWARD_DATA_DIR") == "~/.local/share/steward"
    described.pop("STEWARD_DATA_DIR")
    assert rows == described


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    text = section("docs/reference.md", "Metrics")
    documented = dict(re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| \w+ \|", text, re.MULTILINE))
    metrics.register_facts(lambda: metrics.Facts(1, 0.0, {"ship1": 1.0}))
    try:
        families = {one.name: one.type for one in metrics.REGISTRY.collect()}
    finally:
        metrics.register_facts(checks.read_facts)
    # The library leaves the ending of counters away; what it says of the process itself is not ours.
    names = {name + "_total" if kind == "counter" else name for name, kind in families.items()}
    assert {name for name in names if not name.startswith("process_")} == set(documented)
    assert documented == {name: _labels(name) for name in documented}


def _labels(metric: str) -> str:
    if metric.endswith("_hello_node_contact_last"):
        return "nodeName"
    if metric == "errorkernel_nodes":
        return "liveness"
    for one in vars(metrics).values():
        if getattr(one, "_name", None) in (metric, metric.removesuffix("_total")):
            return ",".join(one._labelnames)
    return ""


def test_every_subject_and_stream_is_documented() -> None:
    text = section("docs/protocol.md", "Subjects")
    rows = first_column(text)
    for root in ("evt", "out", "dec", "cmd", "hello", "sync"):
        assert [row for row in rows if row.startswith(f"ek.{root}.<node>")], root
    assert len(rows) == 6
    for name in (
        subjects.EVENTS_STREAM,
        subjects.DECISIONS_STREAM,
        subjects.COMMANDS_STREAM,
        subjects.durable_of("<node>"),
    ):
        assert f"`{name}`" in text
    assert f"`{subjects.inbox_prefix('<node>')}`" in read("docs/protocol.md")


def test_the_documented_payloads_are_read_by_the_wire() -> None:
    payloads = [code for found, code in BLOCK.findall(section("docs/protocol.md", "Payloads")) if found == "json"]
    event, decision, outcome, command, hello, sync, reply = [payload.encode() for payload in payloads]
    limits = Limits()
    assert wire.decode_event(event, limits).fingerprint == ("copy", "missing source")
    assert wire.decode_decision(decision).by == "user:alice"
    assert wire.decode_outcome(outcome, limits).new_incarnation == 8
    assert commands.decode(command).message.id == "8841"
    assert wire.decode_heartbeat(hello).processes[0].pid == 3391
    assert len(sync_wire.decode(sync).open) == 1
    assert sync_wire.decode_reply(reply) == sync_wire.Answer([], [], [], batches.LIMITS)
    # Nothing that is understood may be missing from the examples.
    assert set(json.loads(event)) == set(wire._Event.__struct_fields__)
    assert set(json.loads(decision)) == set(wire._Decision.__struct_fields__)
    assert set(json.loads(outcome)) == set(wire._Outcome.__struct_fields__)
    assert set(json.loads(hello)) == set(wire._Heartbeat.__struct_fields__)


@pytest.mark.parametrize("words", [EventType, Level, Action, OnDeadline, OutcomeState])
def test_every_word_of_the_contract_is_documented(words: Any) -> None:
    text = section("docs/protocol.md", "Payloads")
    assert [word for word in words if f"`{word.value}`" not in text] == []


def test_the_documented_transitions_are_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \|$", section("docs/architecture.md", "Incidents"), re.MULTILINE)
    written = {(state, step): after for state, step, after in rows[1:]}
    assert written == {(state.value, step.value): after.value for (state, step), after in TRANSITIONS.items()}
    assert all(state.value in read("docs/architecture.md") for state in State)


@pytest.mark.django_db
def test_every_field_of_a_frame_is_documented() -> None:
    from datetime import UTC, datetime
    from uuid import uuid4

    from errorkernel.live import rendering, websocket
    from errorkernel.live.frames import Frame
    from errorkernel.store.ingest.event_rows import EventRow

    text = section("docs/protocol.md", "Live frames")
    now = datetime.now(UTC)
    row = EventRow(
        seq=1, id=uuid4(), type="error", level="error", node="ship1", process="copy", incarnation=1, kind="OSError",
        text="no such file", message=None, occurred_at=now, received_at=now, problem=1, whole=1, incident=None,
        repeat=1,
    )  # fmt: skip
    rows, status = rendering.render_rows([row]), rendering.read_status()
    frame = json.loads(Frame(1, 1, rows, status=status, is_snapshot=True).text)
    table = set(re.findall(r"`(\w+)`", "".join(line for line in text.splitlines() if line.startswith("| `"))))
    assert set(frame) | set(frame["counts"]) | set(frame["status"]) <= table
    row_fields = set(re.findall(r"`(\w+)`", text.split("A row has")[1].split("\n\n")[0]))
    assert set(frame["events"][0]) == row_fields
    codes = {websocket.SIGNED_OUT, websocket.FORBIDDEN, websocket.BAD_QUERY, websocket.TOO_SLOW}
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", text, re.MULTILINE)} == codes


def test_every_command_of_ours_is_documented() -> None:
    rows = section("docs/reference.md", "Commands")
    ours = {name for name, app in get_commands().items() if app == "errorkernel"}
    assert ours == set(re.findall(r"`steward ([\w-]+)", "".join(re.findall(r"^\| .*$", rows, re.MULTILINE))))


def test_every_option_of_run_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(--[\w-]+)[^`]*` \| `?([^|`]*)", section("docs/reference.md", "steward run"), re.MULTILINE)
    options = [one for one in run_options.make_parser()._actions if one.dest != "help"]
    assert {name for name, _ in rows} == {one.option_strings[0] for one in options}
    shown = dict(rows)
    for one in options:
        if isinstance(one.default, int | float | str) and one.default is not False:
            default = one.default if isinstance(one.default, str) else f"{one.default:g}"
            assert shown[one.option_strings[0]].strip() == default


def test_every_address_of_the_api_is_documented() -> None:
    import steward_site.urls  # noqa: F401 - first: it registers the addresses of other packages
    from errorkernel.web.api import urls
    from errorkernel.web.health import urls as health_urls

    text = read("docs/http.md")
    for pattern in urls.urlpatterns[:-1]:
        route = "/api/v1/" + re.sub(r"<\w+:\w+>", "{id}", str(pattern.pattern))
        assert re.search(rf"`?{re.escape(route)}[`?]", text), route
    for pattern in health_urls.urlpatterns:
        assert f"/{pattern.pattern}`" in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_local_link_leads_somewhere(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)]+)\)", prose(path.read_text())):
        if re.match(r"[a-z]+://", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def linked_from(index: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", prose(index.read_text()))
    return {(index.parent / target).resolve() for target in targets if "://" not in target}


def test_every_page_is_linked_from_an_index() -> None:
    docs = ROOT / "docs"
    assert docs / "README.md" in linked_from(ROOT / "README.md")
    for index in docs.rglob("README.md"):
        beside = {page for page in index.parent.glob("*.md") if page != index}
        below = set(index.parent.glob("*/README.md"))
        assert beside | below <= linked_from(index), index
    assert all((page.parent / "README.md").exists() for page in docs.rglob("*.md"))


def tracked() -> set[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {f"/{name}" for name in done.stdout.splitlines() if (ROOT / name).exists()}


def test_every_named_file_exists() -> None:
    """Paths from the checkout's root, and names of files alone, which then are somewhere in it."""
    paths, ends = re.compile(r"`((?:errorkernel|tests|docs|steward_site|static|templates)/[\w/.*-]*)`"), tracked()
    names = re.compile(r"`([\w/-]+\.(?:py|js|css|html|sql))`")
    missing, found = set(), 0
    for path in DOCUMENTS:
        for name in paths.findall(path.read_text()):
            found += 1
            missing |= {name} if not any(ROOT.glob(name.rstrip("/"))) else set()
        for name in names.findall(path.read_text()):
            missing |= {name} if not any(there.endswith(f"/{name}") for there in ends) else set()
    assert found > 10
    assert missing == set()


def test_every_named_module_exists() -> None:
    found = {
        name for path in DOCUMENTS for name in re.findall(r"\b((?:errorkernel|tests)\.[a-z_.]*\w)", path.read_text())
    }
    files = {
        name.removeprefix("/").removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in tracked()
    }
    packages = {name.rpartition(".")[0] for name in files}
    # The last part may be a name of the module before it.
    assert {name for name in found if not {name, name.rpartition(".")[0]} & (files | packages)} == set()


def test_no_file_has_marks_of_a_conflict() -> None:
    done = subprocess.run(["git", "grep", "-lE", "^(<{7}|>{7}) "], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == ""


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (\w+)", read("README.md"), re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_commit_hooks_run_the_linters_of_make_check() -> None:
    target = read("Makefile").split("\ncheck:", 1)[1].split("\n\n", 1)[0]
    checks = re.findall(r"(?:^\t@\$\(BIN\)/|; then (?=npx))([^;\n]*)", target, re.MULTILINE)
    hooks = re.findall(r"^ +entry: (?:\.venv/bin/)?(.*)$", read(".pre-commit-config.yaml"), re.MULTILINE)
    assert hooks == checks


@pytest.mark.parametrize("name", [path.relative_to(ROOT).as_posix() for path in DOCUMENTS])
def test_code_blocks_can_be_read(name: str) -> None:
    for code in blocks(name, "python"):
        compile(code, name, "exec")
    for code in blocks(name, "sh"):
        done = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    for code in blocks(name, "json"):
        json.loads(code)
    for code in blocks(name, "query"):
        for line in code.splitlines():
            parse(line)


def test_the_names_that_readme_imports_exist() -> None:
    for code in blocks("README.md", "python"):
        for line in re.findall(r"^from errorkernel\S* import .*$", code, re.MULTILINE):
            exec(line, {})


def test_the_examples_for_code_that_is_there_already_do_what_they_say(tmp_path: Path) -> None:
    made = unreachable(tmp_path).rename(tmp_path / "ship1.json")
    text = section("docs/nodes.md", "Integrate existing Python code")
    logged, raised, hooked = [code for language, code in BLOCK.findall(text) if language == "python"]
    for code in (logged, raised, hooked + "\nraise RuntimeError('nobody')\n"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=made.parent, env=program_env(), capture_output=True, text=True, timeout=60
        )
        assert not done.returncode or "RuntimeError: nobody" in done.stderr, done.stderr
    events = written(tmp_path / "ship1.journal")
    assert [(one.kind, one.process) for one in events] == [
        ("FileNotFoundError", "copy-files"), ("FileNotFoundError", "copy-files"), ("RuntimeError", "copy-files"),
    ]  # fmt: skip
    assert events[0].message
    assert events[0].message.id == "8841"
    assert events[0].fingerprint[:2] == ("charts", "copy of %s failed")


def test_curl_examples_post_what_the_wire_reads() -> None:
    bodies = re.findall(r"-d '(\{\"v\": 1.*\})'$", "\n".join(blocks("README.md", "sh")), re.MULTILINE)
    assert len(bodies) == 2
    for body in bodies:
        wire.decode_event(body.replace("'$ID'", "0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123").encode(), Limits())


def test_no_document_or_pin_names_a_registry_or_this_machine() -> None:
    for path in [*DOCUMENTS, *ROOT.glob("requirements*.txt")]:
        assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host|file://", path.read_text()), path


def test_pins_are_exact_and_hashed() -> None:
    for path in ROOT.glob("requirements*.txt"):
        text = re.sub(r"\s*\\\n\s*", " ", path.read_text())
        lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert len(lines) > 20
        assert [line for line in lines if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_what_is_known_of_steward_nodes_is_documented() -> None:
    assert first_column(section("docs/steward.md", "Where errors come from")) == list(ERROR_SUBJECTS)
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", section("docs/steward.md", "Formats"), re.MULTILINE)
    assert {name: int(count) for name, count in rows} == {name: len(fields) for name, fields in LAYOUTS.items()}
    methods = re.findall(r"`(\w+)`", section("docs/steward.md", "Stop and start"))
    assert sorted(methods) == sorted(SAFE_METHODS)


def test_every_reason_to_refuse_a_steward_message_is_documented() -> None:
    refused = section("docs/steward.md", "Rejected messages")
    documented = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", refused, re.MULTILINE))))
    files = (ROOT / "errorkernel/senders/steward/protocol").glob("*.py")
    raised = {reason for path in files for reason in re.findall(r'ProtocolError\("(\w+)"', path.read_text())}
    # Which names become known is not for the reader of bytes to say.
    assert documented == raised | {"too_many_nodes"}
