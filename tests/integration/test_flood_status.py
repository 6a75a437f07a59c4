"""A node that floods is named: on every page, to the live page, on its own page, and by doctor."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from errorkernel.live import rendering
from errorkernel.ops.doctor import activity
from errorkernel.platform import conf
from errorkernel.store import kernel_heartbeats, nodes
from errorkernel.store.platform.actor import Actor
from errorkernel.store.status import system_status


@pytest.mark.django_db
def test_the_node_that_floods_most_is_named_while_it_does(client: Client) -> None:
    now = datetime.now(UTC)
    kernel_heartbeats.record("kernel", started_at=now, lag=42_000, now=now)
    for name in ("calm", "flood", "smaller"):
        nodes.add_node(name, actor=Actor.system(now))
    client.force_login(get_user_model().objects.create_superuser("admin"))
    assert system_status.read(now).flooding == ""
    assert "flood floods" not in client.get("/nodes/calm/").content.decode()

    nodes.note_floods({"smaller": 6_000, "flood": 31_000}, now=now)
    assert system_status.read(now).flooding == rendering.read_status().flooding == "flood"
    page = client.get("/").content.decode()
    assert "flood floods" in page
    assert 'href="/nodes/flood/"' in page
    assert "31000 messages of the node were not stored yet" in client.get("/nodes/flood/").content.decode()
    found = next(check for check in activity.checks(conf.get(), running=True) if check.name == "kernel")
    assert "the node flood floods" in str(found)

    assert system_status.read(now + timedelta(seconds=11)).flooding == ""
