"""Logged-in clients of the bulk decision pages."""

import pytest

from tests.support.page_data import person


@pytest.fixture
def alice():
    return person("alice", "operator")
