"""Logged-in clients of the rule pages."""

import pytest

from errorkernel.platform import conf
from tests.support.rule_pages import client_of


@pytest.fixture
def alice():
    return client_of("alice", "operator")


@pytest.fixture
def viewer():
    return client_of("vera", "viewer")


@pytest.fixture
def two_needed_above_2(monkeypatch):
    monkeypatch.setenv("STEWARD_KILL_NEEDS_TWO_ABOVE", "2")
    conf.get.cache_clear()
    yield
    conf.get.cache_clear()
