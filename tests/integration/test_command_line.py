"""The console script: its help, its version, mistyped commands, and completion in real shells."""

import io
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command, load_command_class

from errorkernel.management import catalogue, completion
from errorkernel.models import AuditEntry, Node
from errorkernel.ops.runner import prepare, terminal
from steward_site.cli import main
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

COMMANDS = ROOT / "errorkernel" / "management" / "commands"
HIDDEN = {"createsuperuser", "migrate"}
"""Commands of Django that ours only extend."""


def steward(*arguments: str, without: tuple[str, ...] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    """The console script in a process of its own, in which the modules ``without`` cannot be imported."""
    block = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    program = f"import sys; {block}from steward_site.cli import main; sys.argv = ['steward', *sys.argv[1:]]; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    made = {}
    for shell in completion.SHELLS:
        done = steward("completion", shell)
        assert done.returncode == 0, done.stderr
        made[shell] = done.stdout
    return made


def test_every_command_of_ours_is_in_the_help() -> None:
    ours = {path.stem for path in COMMANDS.glob("*.py") if path.stem != "__init__"}
    assert ours | {"help"} == set(catalogue.names()) | HIDDEN


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_our_commands_and_needs_no_django(arguments: tuple[str, ...]) -> None:
    done = steward(*arguments, without=("django", "nats", "msgspec"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for group, commands in catalogue.GROUPS.items():
        assert group in lines
        for name, text in commands.items():
            assert [line for line in lines if line.split() == [name, *text.split()]]
    assert "migrate" not in done.stdout


def test_help_fits_into_a_terminal() -> None:
    assert max(map(len, catalogue.overview().splitlines())) <= 100


def test_django_commands_are_listed_on_request_and_accepted(tmp_path: Path) -> None:
    listed = steward("help", "--all", STEWARD_DATA_DIR=str(tmp_path))
    assert {"migrate", "dbshell", "createsuperuser", "up"} <= set(listed.stdout.split())
    accepted = steward("migrate", "--help", STEWARD_DATA_DIR=str(tmp_path))
    assert accepted.returncode == 0
    assert accepted.stdout.startswith("usage: steward migrate")


@pytest.mark.parametrize("path", sorted(COMMANDS.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_help_of_a_command_hides_the_options_of_every_django_command(path: Path) -> None:
    if path.stem == "run":
        return  # its options are not Django's
    text = load_command_class("errorkernel", path.stem).create_parser("steward", path.stem).format_help()
    assert text.startswith(f"usage: steward {path.stem}")
    assert "--data-dir" in text
    assert "--settings" not in text
    assert path.stem in HIDDEN or catalogue.summary(path.stem) in " ".join(text.split())


def test_help_of_a_command_can_be_asked_for_in_two_ways(tmp_path: Path) -> None:
    told = [steward(*words, STEWARD_DATA_DIR=str(tmp_path)).stdout for words in (("help", "node"), ("node", "--help"))]
    assert told[0] == told[1]
    assert told[0].startswith("usage: steward node")


@pytest.mark.parametrize("option", ["--version", "version"])
def test_version_is_ours(option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["steward", option])
    main()
    assert capsys.readouterr().out == f"steward {catalogue.version()}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [("nod", "“node”"), ("docter", "“doctor”"), ("migrat", "“migrate”"), ("qqq", "")]
)
def test_unknown_command_names_the_nearest(typed: str, meant: str, tmp_path: Path) -> None:
    done = steward(typed, STEWARD_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"steward: There is no command “{typed}”.")
    assert ("Did you mean " + meant in done.stderr) if meant else ("Did you mean" not in done.stderr)


def test_server_command_of_a_node_says_what_to_install() -> None:
    done = steward("up", without=("django",))
    assert done.returncode == 1
    assert done.stderr == (
        "steward: “up” needs the server. Install it with: pip install 'steward-error-kernel[server]'\n"
    )


def test_node_has_completion_for_its_commands() -> None:
    done = steward("completion", "bash", without=("django",))
    assert done.returncode == 0, done.stderr
    assert '"/run") words="' in done.stdout
    assert "/chaos" not in done.stdout


@pytest.mark.django_db
def test_nodes_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("node", "add", "ship1", "--json")
    made = json.loads(capsys.readouterr().out)
    call_command("node", "disable", "ship1")
    call_command("node", "list", "--json")
    assert json.loads(capsys.readouterr().out) == [
        {"name": "ship1", "enabled": False, "events": 0, "heartbeat_at": None}
    ]
    assert set(made) == {"node", "nkey_seed", "token", "nats_url", "http_url"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("out", ["no-such-directory/x", "/dev/full"])
@pytest.mark.parametrize("action", ["add", "renew"])
def test_credentials_that_cannot_be_written_change_nothing(action: str, out: str, tmp_path: Path) -> None:
    if action == "renew":
        call_command("node", "add", "ship1", "--out", str(tmp_path / "first"))
    before = list(Node.objects.values("name", "public_key", "token_digest")), AuditEntry.objects.count()
    with pytest.raises(SystemExit, match=r"cannot be written .*Nothing was changed"):
        call_command("node", action, "ship1", "--out", str(tmp_path / out))
    assert (list(Node.objects.values("name", "public_key", "token_digest")), AuditEntry.objects.count()) == before


@pytest.mark.django_db
def test_credentials_in_a_file_are_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("old")
    file.chmod(0o644)
    call_command("node", "add", "ship1", "--out", str(file))
    assert json.loads(file.read_text())["node"] == "ship1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["credentials"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["node", "list", "--json"], "has never been started"),
        (["node", "add", "ship1"], "has never been started"),
        (["token", "add", "vera"], "has never been started"),
        (["changepassword", "vera"], "has never been started"),
        (["broker-config", "--streams"], "has never been started"),
        (["signing-key", "show"], "there is no key yet"),
        (["signing-key", "make"], "has never been started"),
        (["broker-config", "--steward"], ""),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_command_on_a_new_data_directory_creates_nothing(command: list[str], says: str, tmp_path: Path) -> None:
    place = tmp_path / "data"
    done = steward(*command, "--data-dir", str(place))
    assert says in done.stderr
    assert done.returncode == bool(says)
    assert "Traceback" not in done.stderr
    assert not place.exists()


@pytest.mark.django_db
def test_credentials_for_this_machine_alone_say_how_to_change_that(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("node", "add", "ship1", "--json")
    told = capsys.readouterr().err
    assert "http://127.0.0.1:8000 works on this machine only" in told
    assert "--host ADDRESS" in told


@pytest.mark.parametrize(
    ("nats_url", "local"),
    [("nats://127.0.0.1:4222", True), ("nats://[::1]:4222", True), ("nats://192.0.2.10:4222", False), ("", False)],
)
def test_only_a_loopback_address_of_the_broker_is_hinted_at(nats_url: str, local: bool) -> None:
    hint = import_module("errorkernel.management.commands.node")._reach_hint(nats_url, "https://errors.example.org")
    assert ("STEWARD_NATS_HOST=ADDRESS" in hint) is local


def first_administrator(password_file: str) -> str | None:
    return prepare.store_first_account(prepare.begin_first_account(password_file))


@pytest.mark.django_db
def test_first_administrator_gets_the_password_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    assert first_administrator(str(file)) is None
    assert authenticate(username="admin", password="correct horse")
    assert first_administrator(str(file)) is None


@pytest.mark.django_db
def test_first_administrator_gets_a_password_that_is_told_once() -> None:
    password = first_administrator("")
    assert authenticate(username="admin", password=password)
    assert first_administrator("") is None


@pytest.mark.django_db
@pytest.mark.parametrize("content", [None, "", "\n"])
def test_password_file_that_holds_none_stops_the_start(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    with pytest.raises(prepare.StartError, match="STEWARD_ADMIN_PASSWORD_FILE"):
        first_administrator(str(file))


def test_port_in_use_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(prepare.StartError, match=f"^Port {port} is already in use. Choose another with --port.$"):
            prepare.hold_port("127.0.0.1", port)


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "✓"), ("ascii", "ok")])
def test_step_is_marked_as_the_terminal_can_show_it(encoding: str, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    terminal.report_step("Web", "http://127.0.0.1:8000/")
    assert out.buffer.getvalue().decode(encoding).split() == ["Web", mark, "http://127.0.0.1:8000/"]  # type: ignore[attr-defined]


def in_bash(script: str, *words: str) -> set[str]:
    """What bash completes the last word to."""
    typed = " ".join(f'"{word}"' for word in ("steward", *words))
    program = (
        f"{script}\nCOMP_WORDS=({typed}) COMP_CWORD={len(words)}; COMP_LINE='steward'; _steward;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("",), set(catalogue.names())),
        (("no",), {"node"}),
        (("node", "re"), {"renew"}),
        (("node", "add", "--"), {"--json", "--out", "--help", "--data-dir"}),
        (("--data-dir", "/tmp", "up", "--de"), {"--demo"}),
        (("run", "--restart", ""), {"permanent", "transient", "temporary"}),
        (("run", "--restart", "tra"), {"transient"}),
        (("node", "add", "--out", ""), set()),
        (("run", "--", "bac"), set()),
        (("completion", ""), {"bash", "zsh", "fish"}),
        (("help", "do"), {"doctor"}),
    ],
)
def test_bash_completes(scripts: dict[str, str], words: tuple[str, ...], found: set[str]) -> None:
    assert in_bash(scripts["bash"], *words) == found


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("",), {"up", "node", "doctor"}),
        (("node", ""), {"add", "renew", "--help"}),
        (("run", "--restart", ""), {"permanent", "transient", "temporary"}),
    ],
)
def test_zsh_completes(scripts: dict[str, str], words: tuple[str, ...], found: set[str]) -> None:
    typed = " ".join(f"'{word}'" for word in ("steward", *words))
    program = (
        "compdef() { :; }; _files() { :; }; _default() { :; }; _describe() { print -l ${(P)argv[-1]%%:*}; }\n"
        f"{scripts['zsh']}\nwords=({typed}); CURRENT={len(words) + 1}; _steward"
    )
    done = subprocess.run(["zsh", "-f", "-c", program], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stderr == ""
    assert found <= set(done.stdout.split())


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("steward no", {"node"}),
        ("steward node ", {"add", "renew", "list", "disable", "enable"}),
        ("steward node add --j", {"--json"}),
        ("steward run --restart ", {"permanent", "transient", "temporary"}),
    ],
)
def test_fish_completes(scripts: dict[str, str], line: str, found: set[str], tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    program = f"{scripts['fish']}\ncomplete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program], env=environ, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.stderr == ""
    assert found == {text.split("\t")[0] for text in done.stdout.splitlines()}
