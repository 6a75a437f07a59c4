"""Logged-in clients: a viewer and two operators."""

import pytest

from tests.support.page_data import person


@pytest.fixture
def viewer():
    return person("vera", "viewer")


@pytest.fixture
def alice():
    return person("alice", "operator")
