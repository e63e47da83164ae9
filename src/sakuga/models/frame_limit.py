"""How many frames a motion module can see at once: as many as it has positions for. Knows nothing else of motion."""

from __future__ import annotations

from pathlib import Path

from sakuga.errors import JobError
from sakuga.models.temporal import POSITIONS
from sakuga.tensors.file import TensorFile


def check_frames(count: int, limit: int) -> None:
    """Raise ``JobError`` if a window has more frames than a motion module has positions for."""
    if count > limit:
        raise JobError(
            "the window is longer than the motion module can see",
            given=f"{count} frames at once",
            expected=f"at most {limit}, the number of positions in its file",
            do=f"set window to {limit} or less",
        )


def positions_in(path: Path) -> int:
    """How many frames the motion module in a file can see at once, from its header."""
    with TensorFile.open(path) as file:
        return min((file.shape(name)[1] for name in file.names if name.endswith(".pe")), default=POSITIONS)
