"""Logged-in clients: a viewer and an operator."""

import pytest
from django.test import Client

from tests.support.problem_data import client_of


@pytest.fixture
def alice() -> Client:
    return client_of("alice", "operator")


@pytest.fixture
def vera() -> Client:
    return client_of("vera", "viewer")
