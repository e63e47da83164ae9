"""The rules of conftest.py hold: no network, seeded numbers, logged errors are seen."""

from __future__ import annotations

import logging
import random
import socket

import pytest


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_network_socket_cannot_be_made(family: socket.AddressFamily) -> None:
    with pytest.raises(RuntimeError, match="no network"):
        socket.socket(family)


def test_a_name_cannot_be_looked_up() -> None:
    with pytest.raises(RuntimeError, match="no network"):
        socket.getaddrinfo("example.org", 80)


def test_processes_may_still_talk_to_each_other() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"frame")
        assert other.recv(5) == b"frame"


@pytest.mark.parametrize("run", [1, 2])
def test_random_numbers_are_the_same_in_every_test(run: int) -> None:
    assert random.random() == random.Random(0).random()


@pytest.mark.parametrize("name", ["sakuga", "diffusers.loaders"])
def test_a_logged_error_is_kept_for_the_verdict(name: str, logged_errors: list[str]) -> None:
    logging.getLogger(name).error("lora key not loaded")
    assert logged_errors == [f"{name}: lora key not loaded"]
    logged_errors.clear()
