"""Renders in children forked from a warm process, and kills them where a test says. No torch has to be loaded twice."""

from __future__ import annotations

import importlib
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import cv2
import torch

from sakuga.progress import Progress
from sakuga.render.studio import Studio
from sakuga.spec.job import Job


def forked(act: Callable[[], object]) -> int:
    """Run ``act`` in a child of one thread; its exit status, or minus the signal that ended it."""
    pools = (torch.get_num_threads(), torch.set_num_threads), (cv2.getNumThreads(), cv2.setNumThreads)
    for _, set_threads in pools:
        set_threads(1)  # here, because a child cannot end threads that it does not have
    try:
        process = os.fork()
        if process == 0:
            _end(act)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    finally:
        for before, set_threads in pools:
            set_threads(before)


def _end(act: Callable[[], object]) -> NoReturn:
    try:
        act()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def rendered(studio: Studio, job: Job, progress: Progress | None = None) -> int:
    """Render in a child to the end."""
    return forked(lambda: studio.render(job, progress=progress))


def killed_at(place: str, call: int, studio: Studio, job: Job) -> int:
    """Render in a child that is killed when the function ``place`` (``module:Class.function``) is called so often."""
    module, _, name = place.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = name.split(".")
    for one in classes:
        owner = getattr(owner, one)
    before, calls = getattr(owner, name), 0

    def deadly(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(*words, **named)

    def act() -> None:
        setattr(owner, name, deadly)
        studio.render(job)

    return forked(act)


def no_trace(folder: Path, output: Path) -> bool:
    """Whether nothing stands under the output's name."""
    return not output.exists() and all(not path.name.startswith(output.stem) for path in folder.iterdir())
