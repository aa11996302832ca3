"""Fixtures: a port without anything on it."""

import socket

import pytest


@pytest.fixture
def closed_port():
    """Return a port on which nothing listens, as long as the test runs."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it
        yield holder.getsockname()[1]
