"""The networks that annotators draw with: found in the library before anything is loaded. Headers only.

Without its network an annotator draws as it can alone, which is told, or the control is refused with where was looked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sakuga.errors import FileProblem, SakugaError, raise_all
from sakuga.models.annotators import network_named
from sakuga.models.annotators.files import Search, find_network
from sakuga.models.library import STARTER, Library
from sakuga.render.annotators import Annotator
from sakuga.report import Report


def find_files(
    annotator: Annotator, control: Callable[[], Path], library: Library, report: Report
) -> tuple[Path, tuple[Path | None, ...]]:
    """The ControlNet that ``control`` finds, and the files that ``annotator`` draws with; both findings together."""
    missing, path = list[SakugaError](), None
    networks: tuple[Path | None, ...] = ()
    try:
        path = control()
    except SakugaError as error:
        missing.append(error)
    try:
        networks = find_networks(annotator, path, library, report)
    except SakugaError as error:
        missing.append(error)
    raise_all(missing)
    assert path is not None, "what is missing has been raised"
    return path, networks


def find_networks(
    annotator: Annotator, control: Path | None, library: Library, report: Report
) -> tuple[Path | None, ...]:
    """The file of each of the annotator's networks, None for those it does without.

    ``control``: the ControlNet that the pictures are for, None if it is missing.

    Raises FileProblem if the first is missing and the annotator draws nothing alone.
    """
    if control is not None and control.is_relative_to(
        STARTER
    ):  # its ControlNets were trained on what annotators draw alone
        return ()
    found = [find_network(network_named(name), library) for name in annotator.networks]
    for number, search in enumerate(found):
        if search.path is None and number == 0 and annotator.alone is None:
            raise _missing(annotator, search)
        if search.path is None:
            drawn = f"drawn as {annotator.alone}" if number == 0 else f"{search.network.name}s are not drawn"
            report.note(f"control {annotator.name}", f"{drawn}: {search.missing}")
    return tuple(search.path for search in found)


def _missing(annotator: Annotator, search: Search) -> FileProblem:
    return FileProblem(
        f"{annotator.name} is drawn by a network whose file is missing",
        given=search.missing,
        expected=f"{search.network.file}, as it is published",
        do=f"put it into {search.looked[-1]}, name its folder with --models, or choose another control",
    )
