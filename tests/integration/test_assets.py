"""Static files with hashed names: made once, found by pages, kept by browsers; compressed answers."""

import gzip
import re
from pathlib import Path

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from errorkernel.ops.runner import prepare
from errorkernel.web.assets import build as making
from errorkernel.web.assets.place import place
from errorkernel.web.assets.serving import Compress
from errorkernel.web.assets.storage import HashedFiles
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HashedFiles:
    target = tmp_path_factory.mktemp("assets") / "hashed"
    making.build(ROOT / "static", target)
    return HashedFiles(location=target)


def test_every_file_of_ours_has_a_hashed_name_and_is_compressed(made: HashedFiles) -> None:
    for path in (ROOT / "static" / "errorkernel").iterdir():
        hashed = made.stored_name(f"errorkernel/{path.name}")
        assert re.search(r"\.[0-9a-f]{12}\.\w+$", hashed), path
        assert made.exists(hashed)
        assert made.exists(hashed + ".br"), path
    assert not made.exists("errorkernel/console.js")


def test_all_modules_are_named_at_once_under_the_names_that_imports_have(made: HashedFiles) -> None:
    assert made.modules[0] == made.stored_name("errorkernel/console.js")
    assert made.stored_name("errorkernel/connection.js") in made.modules
    for name in made.modules:
        text = made.open(name).read().decode()
        imported = {f"errorkernel/{one}" for one in re.findall(r'from "\./([^"]+)"', text)}
        assert imported <= set(made.modules), name


def test_one_stylesheet_holds_all_of_the_console(made: HashedFiles) -> None:
    text = (ROOT / "static/errorkernel/console.css").read_text()
    imported = re.findall(r'@import url\("([^"]+)"\);', text)
    there = {path.name for path in (ROOT / "static/errorkernel").glob("*.css")}
    assert sorted(imported) == sorted(there - {"console.css", "alone.css", "admin.css"})
    assert b"@import" not in made.open(made.stored_name("errorkernel/console.css")).read()


def test_a_stylesheet_contains_what_it_imports(tmp_path: Path) -> None:
    static = tmp_path / "static" / "errorkernel"
    static.mkdir(parents=True)
    (static / "all.css").write_text('@import url("one.css");\np { color: red }\n')
    (static / "one.css").write_text("b { color: blue }\n")
    making.build(tmp_path / "static", tmp_path / "made")
    storage = HashedFiles(location=tmp_path / "made")
    text = storage.open(storage.stored_name("errorkernel/all.css")).read()
    assert text == b"b { color: blue }\np { color: red }\n"


def test_two_that_make_the_files_at_once_both_find_them(tmp_path: Path, made: HashedFiles) -> None:
    target = tmp_path / "hashed"
    making.build(ROOT / "static", target)
    making.build(ROOT / "static", target)
    assert [path.name for path in tmp_path.iterdir()] == ["hashed"]


def test_changed_files_get_another_place_and_few_old_ones_stay(tmp_path: Path, settings) -> None:
    static = tmp_path / "static" / "errorkernel"
    static.mkdir(parents=True)
    settings.ASSETS = tmp_path
    places = []
    for number in range(prepare.OLD_ASSETS_KEPT + 2):
        (static / "one.css").write_text(f"b {{ order: {number} }}\n")
        settings.STATIC_ROOT = place(tmp_path, tmp_path / "data")
        prepare.prepare_assets()
        places.append(settings.STATIC_ROOT)
    assert len(set(places)) == len(places)
    assert len(list((tmp_path / "data" / "assets").iterdir())) == prepare.OLD_ASSETS_KEPT + 1
    assert places[-1].is_dir()


def test_a_data_directory_that_cannot_be_written_is_a_warning(tmp_path: Path, settings, caplog) -> None:
    (tmp_path / "file").touch()
    settings.STATIC_ROOT = place(ROOT, tmp_path / "file")
    prepare.prepare_assets()
    assert "cannot be made" in caplog.text


@pytest.mark.django_db
def test_pages_and_files_of_the_admin_are_compressed(client: Client) -> None:
    for address in ("/login/", "/static/admin/css/base.css"):
        answer = client.get(address, headers={"accept-encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip", address
        body = answer.getvalue()
        assert len(gzip.decompress(body)) > len(body)


def test_events_as_they_come_and_parts_of_files_are_not_compressed() -> None:
    request = RequestFactory().get("/", headers={"accept-encoding": "gzip"})
    stream = StreamingHttpResponse([b"data: x\n\n" * 100], content_type="text/event-stream")
    part = HttpResponse(b"x" * 1000, status=206)
    for response in (stream, part):
        assert "Content-Encoding" not in Compress(lambda _: HttpResponse()).process_response(request, response).headers
