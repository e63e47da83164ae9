"""Imports point downwards only. Reads every import of the package from its source, those inside functions too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "sakuga"

# A folder may import folders of lower layers; within one layer they are blind to each other.
LAYERS = {
    "__init__": 6,  # the public names, brought in lazily
    "__main__": 6,
    "cli": 5,
    "diffutoon": 5,
    "render": 3,
    "lora": 2,
    "models": 2,
    "spec": 1,
    "tensors": 1,
    "video": 1,
    "report": 0,
    "progress": 0,
    "whole": 0,
    "errors": 0,
}
GROUND = ("report", "progress", "whole")  # of layer 0, these may import errors, which imports nothing of ours

# Which packages from outside a folder may import at all. What is missing here is a decision, not an oversight.
OUTSIDE = {
    "cli": {"rich"},  # a face has no tensor code
    "diffutoon": {"torch", "numpy", "PIL"},  # scripts for DiffSynth 1.x pass PIL pictures and torch's formats
    "render": {"torch", "numpy", "cv2"},
    "lora": {"torch"},  # works on any module tree, so it never sees diffusers
    "models": {"torch", "diffusers", "transformers"},
    "spec": {"pydantic", "pydantic_core", "yaml"},  # plain data: read without torch, av or numpy
    "tensors": {"torch", "numpy"},
    "video": {"numpy", "torch", "av", "cv2"},
}
ONLY_IN = {
    "av": {"video/read.py", "video/encode.py", "video/along.py", "video/gif.py", "video/growing.py"}
}  # the doors of PyAV
ONLY_INSIDE_FUNCTIONS = {"cv2"}  # engines run without it as long as no video is touched


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module: where it stands, and whether it runs when the file is imported."""

    path: str  # of the importing file, below src/sakuga
    line: int
    module: str
    at_import: bool

    @property
    def room(self) -> str:
        return self.path.split("/")[0].removesuffix(".py")

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def imports_of(source: str, path: str) -> Iterator[Import]:
    """Every import in ``source``. ``from sakuga import spec`` counts as an import of ``sakuga.spec``."""
    tree = ast.parse(source)
    inner = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner.update(id(child) for child in ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"sakuga.{a.name}" for a in node.names] if module == "sakuga" else [module]
        else:
            continue
        for name in names:
            yield Import(path=path, line=node.lineno, module=name, at_import=id(node) not in inner)


def breach(one: Import) -> str | None:
    """What is wrong with this import, or None."""
    if one.module.startswith("."):
        return f"{one}: imports are absolute"
    if one.room not in LAYERS:
        return f"{one.path}: {one.room} has no layer yet; give it one in {Path(__file__).name}"
    if one.top == "sakuga":
        return _inner_breach(one)
    if one.top in sys.stdlib_module_names or one.room in ("__init__", "__main__"):
        return None
    if one.top not in OUTSIDE.get(one.room, set()):
        return f"{one}: {one.room} may not import {one.top}"
    if one.path not in ONLY_IN.get(one.top, {one.path}):
        return f"{one}: only {' and '.join(sorted(ONLY_IN[one.top]))} may"
    if one.top in ONLY_INSIDE_FUNCTIONS and one.at_import:
        return f"{one}: only inside a function"
    return None


def _inner_breach(one: Import) -> str | None:
    target = [*one.module.split("."), "__init__"][1]
    if target in (one.room, "__version__") or (one.room in GROUND and target == "errors"):
        return None
    if LAYERS.get(target, 9) < LAYERS[one.room]:
        return None
    return f"{one}: {one.room} (layer {LAYERS[one.room]}) may not see {target}"


def all_imports() -> list[Import]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        found += imports_of(path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix())
    return found


def test_every_import_keeps_to_the_layers() -> None:
    found = all_imports()
    assert len(found) > 20
    wrong = [text for one in found if (text := breach(one))]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_layer_has_its_room() -> None:
    rooms = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")}
    assert set(LAYERS) - rooms == set(), "a layer without a room"


def test_the_public_names_load_nothing_until_they_are_asked_for() -> None:
    eager = [str(one) for one in all_imports() if one.path == "__init__.py" and one.at_import]
    assert all(text.endswith(("__future__", "typing")) for text in eager), eager


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lora/stack.py", "from sakuga.models.bundle import Bundle"),  # blind to each other
        ("spec/job.py", "def f():\n    from sakuga.render.studio import Studio"),  # upwards, though inside a function
        ("spec/job.py", "import torch"),
        ("spec/size.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy"),
        ("errors.py", "from sakuga.report import Report"),
        ("lora/read.py", "import diffusers"),
        ("render/stage.py", "from diffusers import UNet2DConditionModel"),
        ("cli/main.py", "import torch"),
        ("video/clip.py", "def f():\n    import av"),
        ("video/colour.py", "import cv2"),
        ("video/colour.py", "from sakuga.spec.size import Size"),
        ("video/read.py", "from . import clip"),
        ("video/read.py", "from sakuga import lora"),
        ("server/app.py", "import json"),  # a room without a layer
    ],
)
def test_a_breach_is_found(path: str, source: str) -> None:
    assert any(breach(one) for one in imports_of(source, path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("render/stage.py", "from sakuga.lora.stack import Stack\nfrom sakuga.models.load import load_base"),
        ("render/spans.py", "import torch"),
        ("video/read.py", "import av"),
        ("video/colour.py", "def f():\n    import cv2"),
        ("progress.py", "from sakuga.errors import Stopped"),
        ("spec/load.py", "import yaml\nfrom sakuga.spec.job import Job"),
        ("cli/render.py", "def f():\n    from sakuga.render.studio import Studio"),
        ("report.py", "def f():\n    from sakuga import __version__"),
    ],
)
def test_what_is_allowed_is_not_a_breach(path: str, source: str) -> None:
    assert [text for one in imports_of(source, path) if (text := breach(one))] == []
