"""Fill a model with the tensors of files: one at a time, straight into its number format, so nothing is held twice.

The model comes as a skeleton without memory (on the meta device). First every weight is located by headers alone, and
the file refused with the list of what is missing; then the weights are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sakuga.errors import FileProblem
from sakuga.tensors.file import TensorFile

SHOWN = 6  # names in an error message


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the weight of one parameter lies."""

    parameter: str
    file: TensorFile
    name: str


def locate(
    shapes: Mapping[str, tuple[int, ...]], files: Iterable[TensorFile], names: Mapping[str, tuple[str, ...]]
) -> tuple[Place, ...]:
    """The place of every weight of a model; ``names`` has its possible names in the files, by parameter.

    Raises FileProblem for weights that are missing or of another size.
    """
    held = {name: file for file in files for name in file.names}
    label = next(iter(held.values())).path.name if held else "a file without tensors"
    found = {key: next((name for name in names.get(key, ()) if name in held), None) for key in shapes}
    _check_present(label, names, found)
    places = tuple(Place(parameter=key, file=held[name], name=name) for key, name in found.items() if name is not None)
    _check_sizes(label, places, shapes)
    return places


def fill(skeleton: nn.Module, places: Sequence[Place], dtype: torch.dtype) -> None:
    """Read the weights, each converted to ``dtype``, and give them to ``skeleton``, which needs no gradients then."""
    by_file: dict[TensorFile, list[Place]] = {}
    for place in places:
        by_file.setdefault(place.file, []).append(place)
    sizes = skeleton.state_dict()
    filled: dict[str, Tensor] = {}
    for file, own in by_file.items():
        for place, (_, tensor) in zip(own, file.tensors(place.name for place in own), strict=True):
            filled[place.parameter] = tensor.reshape(sizes[place.parameter].shape).to(dtype)
    skeleton.load_state_dict(filled, assign=True)
    skeleton.requires_grad_(False).eval()


def _check_present(label: str, names: Mapping[str, tuple[str, ...]], found: Mapping[str, str | None]) -> None:
    missing = [next(iter(names.get(key, (key,))), key) for key, name in found.items() if name is None]
    if missing:
        raise FileProblem(
            f"{label} lacks weights of the model that it seems to be",
            given=f"{len(found) - len(missing)} of {len(found)} weights",
            expected=_some(missing),
            do="use a whole file; fetch it again if it should be whole",
        )


def _check_sizes(label: str, places: Sequence[Place], sizes: Mapping[str, tuple[int, ...]]) -> None:
    having = [(place, place.file.shape(place.name), sizes[place.parameter]) for place in places]
    wrong = [(place.name, has, needs) for place, has, needs in having if needs not in (has, _squeezed(has))]
    if wrong:
        raise FileProblem(
            f"weights of {label} have other sizes than the rest of it",
            given=_some([f"{name} {list(has)}" for name, has, _ in wrong]),
            expected=_some([str(list(needs)) for _, _, needs in wrong]),
            do="use another file; this one mixes models",
        )


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A convolution of one pixel is a linear layer: LDM writes the VAE's attention so."""
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
