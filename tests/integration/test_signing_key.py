"""``steward signing-key``: made once, private, not overwritten by accident, and printed as nodes read it."""

import base64
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import call_command
from nacl.signing import VerifyKey

from errorkernel.models import AuditEntry
from errorkernel.ops.doctor import machine
from errorkernel.ops.doctor.report import Status
from errorkernel.platform import conf
from errorkernel.senders.steward.protocol import signing_key
from errorkernel.senders.steward.protocol.operator_messages import Operator

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def settings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[conf.Conf]:
    mine = replace(conf.get(), data_dir=tmp_path / "data")
    monkeypatch.setattr(conf, "get", lambda: mine)
    return mine


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("signing-key", *arguments)
    return capsys.readouterr().out


def test_a_node_can_check_with_what_is_printed(
    settings_of_its_own: conf.Conf, capsys: pytest.CaptureFixture[str]
) -> None:
    file = json.loads(printed(capsys, "make", "--json"))
    assert len(file["Hash"]) == 32
    key = base64.b64decode(file["Keys"]["errorkernel"], validate=True)
    operator = Operator("errorkernel", signing_key.seed(settings_of_its_own))
    VerifyKey(key).verify(b"httpGet ship1 subscriber", operator.sign(("httpGet", "ship1", "subscriber")))
    assert file["Keys"]["errorkernel"] in printed(capsys, "show")
    entry = AuditEntry.objects.get(target="signing-key")
    assert entry.after == {"public_key": file["Keys"]["errorkernel"]}


def test_the_key_is_for_its_owner_alone(settings_of_its_own: conf.Conf, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "make")
    file = signing_key.path(settings_of_its_own)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.chmod(0o640)
    (found,) = [one for one in machine.checks(settings_of_its_own) if one.name == "secrets"]
    assert found.status is Status.FAILED
    assert str(file) in found.finding


def test_a_key_that_nodes_know_is_overwritten_only_on_purpose(
    settings_of_its_own: conf.Conf, capsys: pytest.CaptureFixture[str]
) -> None:
    first = printed(capsys, "make", "--json")
    with pytest.raises(SystemExit, match="--force"):
        call_command("signing-key", "make")
    assert printed(capsys, "show", "--json") == first
    assert printed(capsys, "make", "--force", "--json") != first
    assert AuditEntry.objects.filter(target="signing-key").count() == 2


def test_no_key_and_a_broken_one_are_told(settings_of_its_own: conf.Conf) -> None:
    with pytest.raises(SystemExit, match="no key yet"):
        call_command("signing-key", "show")
    assert signing_key.seed(settings_of_its_own) == b""
    signing_key.make(settings_of_its_own)
    signing_key.path(settings_of_its_own).write_text("c2hvcnQ=\n")
    with pytest.raises(conf.ConfError, match="no signing key"):
        call_command("signing-key", "show")
