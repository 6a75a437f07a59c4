"""What core and store say is English to whoever does not ask, and the reader's language on a page."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import translation

from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.values import Message
from errorkernel.models import ErrorEvent
from errorkernel.platform import conf
from errorkernel.templatetags.messages import translated
from tests.support.problem_data import met


def test_a_sentence_is_english_and_remembers_what_it_was_made_of() -> None:
    told = TranslatableText("A query has at most {most} characters.", most=1000)
    assert told == "A query has at most 1,000 characters."
    assert type(str(ValueError(told))) is str
    with translation.override("de"):
        assert translated(told) == translated(ValueError(told)) == "Eine Suche hat höchstens 1.000 Zeichen."
        assert translated("as it is {most}") == "as it is {most}"


def test_what_is_filled_in_is_never_read_as_a_pattern() -> None:
    with pytest.raises(QueryError) as found:
        parse('{most}{0.__class__}:x"')
    with translation.override("de"):
        assert translated(found.value)
    told = TranslatableText("There is no node named {name}.", name="{name.__class__} {most}")
    with translation.override("de"):
        assert translated(told) == "Es gibt keinen Knoten namens {name.__class__} {most}."


@pytest.mark.django_db
def test_a_german_reader_is_told_in_german_what_is_wrong() -> None:
    user = User.objects.create_user("alice")
    user.groups.add(Group.objects.get(name="administrator"))
    client = Client(headers={"accept-language": "de"})
    client.force_login(user)
    one, given = met().pk, met("gone", fingerprint=("disk", "<b>")).pk
    seq = ErrorEvent.objects.get(problem=one).seq
    met("on one message", 3, message=Message(id="8841"))
    for response, words in [
        (client.get("/live/", {"q": "nod:x"}), "Unbekanntes Feld „nod“. Meinten Sie „node“?"),
        (client.get("/problems/", {"q": "state:x"}), "ist kein gültiger Wert für state"),
        (client.get("/problems/"), "Anzahl der Vorkommen."),
        (client.get(f"/problems/{one}/"), "Gleiche Fehlerart und gleicher Text"),
        (client.get(f"/problems/{given}/"), "Vom Knoten gesetzter Fingerabdruck: disk · &lt;b&gt;"),
        (client.get(f"/events/{seq}/"), "Gleiche Fehlerart und gleicher Text"),
        (client.get("/dead-letters/"), '<option value="resent">erneut zugestellt</option>'),
        (client.get("/dead-letters/"), 'class="fixed">aufbewahrt</td>'),
        (client.get("/dead-letters/", {"state": "kept"}), '<option value="kept" selected>aufbewahrt</option>'),
        (client.get("/settings/"), "Höchstlänge eines Fehlertextes, in Byte; längere werden gekürzt."),
        (client.get("/bulk-decisions/new/", {"q": "node:"}), "Direkt nach node: fehlt ein Wert, wie in node:ship*."),
        (client.post("/rules/add/", {"condition": "process:*", "action": "ask"}), "braucht einen Namen"),
        (client.post("/rules/dry-run/", {"condition": ""}), "Eine Regel braucht eine Bedingung"),
        (client.post("/first-node/", {"name": "no name"}), "„no name“ ist kein gültiger Knotenname"),
        (client.post(f"/problems/{one}/merge/", {"into": "7000"}), "Es gibt kein Problem 7000."),
        (client.post(f"/problems/{one}/reopen/"), "Das Problem ist nicht gelöst; sein Status ist offen."),
        (
            client.post("/saved-searches/save/", {"page": "live", "name": "", "address": "q=x"}),
            "Namen von höchstens 60 Zeichen",
        ),
    ]:
        assert words in response.content.decode(), words


def test_what_a_setting_means_is_english_to_a_command_and_german_to_a_german_reader() -> None:
    meanings = [meaning for _variable, _value, meaning in conf.describe(conf.get())]
    assert all(type(str(one)) is str for one in meanings)
    with translation.override("de"):
        # These two are the words that a setting takes.
        assert {str(one) for one in meanings if translated(one) == one} == set()
