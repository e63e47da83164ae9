"""Rules for every test: the same random numbers each time, no network, and no ERROR in a log that goes unseen.

Slow and GPU tests are skipped unless ``--full`` is given (``make test-full``).
"""

from __future__ import annotations

import logging
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUIET_TREES = ("diffusers", "transformers")  # libraries that keep their log from the root logger

# Processes that tests start do not have the hook below, so the libraries are told; before any of them is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


class NetworkForbidden(RuntimeError):
    """A test reached for the network."""


def _forbid_network(event: str, words: tuple[object, ...]) -> None:
    """Audit hook: only sockets between processes of this machine may be made, and no name may be looked up."""
    if event == "socket.__new__" and words[1] != socket.AF_UNIX:
        raise NetworkForbidden(f"a test made a socket of family {words[1]}; tests have no network")
    if event == "socket.getaddrinfo":
        raise NetworkForbidden(f"a test looked up {words[0]}; tests have no network")


sys.addaudithook(_forbid_network)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the slow tests too, and those that need a GPU")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    full = config.getoption("--full")
    for item in items:
        if item.get_closest_marker("slow") and not full:
            item.add_marker(pytest.mark.skip(reason="slow: runs with --full"))
        if item.get_closest_marker("gpu"):
            if not full:
                item.add_marker(pytest.mark.skip(reason="needs a GPU: runs with --full"))
            elif not _has_cuda():
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No index of adapters outside of the tests' own folder is used, nor by processes that they start."""
    os.environ["SAKUGA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """The same random numbers for every test, whatever ran before it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


class _ErrorsKept(logging.Handler):
    """Keeps what was logged at ERROR or above."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []
        self._last: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record is not self._last:  # a record may come both by its library's logger and by the root's
            self.lines.append(f"{record.name}: {record.getMessage()}")
        self._last = record


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[list[str]]:
    """What the test logged as an ERROR; it fails if any is left. A test that expects one looks and clears the list."""
    keeper = _ErrorsKept()
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in QUIET_TREES)]
    for logger in loggers:
        logger.addHandler(keeper)
    yield keeper.lines
    for logger in loggers:
        logger.removeHandler(keeper)
    assert keeper.lines == [], "an ERROR was logged"


@pytest.fixture(scope="session")
def own_files() -> list[Path]:
    """Every file of the project that is or could be committed, set-up and results left out."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, check=False)
    if found.returncode == 0:
        names = {Path(os.fsdecode(name)) for name in found.stdout.split(b"\0") if name}
    else:  # an unpacked archive: no git to ask
        names = {path.relative_to(ROOT) for path in ROOT.rglob("*")}
        aside = {".git", ".venv", "out", "build", "dist", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
        names = {name for name in names if not aside & set(name.parts)}
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())
