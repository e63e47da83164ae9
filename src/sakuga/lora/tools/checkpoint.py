"""Checkpoint: a whole model in a file or in a folder as diffusers writes it, and which of its tensors is which weight.

Names are looked up in a NameMap; without one the published families are tried, by names and shapes. Only what adapters
may change is known: the image model and the text encoders. A tensor of one part may hold several weights of the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from sakuga.errors import FileProblem, UnreadableFile
from sakuga.lora.algorithms.scale import squeezed
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap, Seat, Shape
from sakuga.tensors.tables.families import FAMILIES

# What the names of a part begin with in a single file → the components that it may be.
PREFIXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("model.diffusion_model.", ("unet", "transformer")),
    ("cond_stage_model.transformer.", ("text_encoder",)),
    ("cond_stage_model.model.", ("text_encoder",)),
    ("conditioner.embedders.0.transformer.", ("text_encoder",)),
    ("conditioner.embedders.1.model.", ("text_encoder_2",)),
    ("conditioner.embedders.0.model.", ("text_encoder_2",)),
)
FUSED_PARAMETERS = {"in_proj_weight": "weight", "in_proj_bias": "bias"}  # OpenCLIP's parameters without a module
PROJECTION = "text_projection"  # of OpenCLIP: a parameter without a module too, [in, out] where a layer has [out, in]
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
INDEX_CAP_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """A tensor of a checkpoint that holds weights of the model: those of ``seats``, all of one ``parameter``.
    ``turned``: stored as [in, out].
    """

    file: TensorFile
    key: str
    seats: tuple[Seat, ...]
    parameter: str
    turned: bool = False

    def tensor(self) -> Tensor:
        """Its numbers as [out, in]: a view of the file's where they are turned."""
        found = self.file.tensor(self.key)
        return found.T if self.turned else found


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """``files``: every file of weights that was opened, with the component that it is of; None: a whole model."""

    path: Path
    files: tuple[tuple[str | None, TensorFile], ...]
    names: NameMap

    @classmethod
    def open(cls, path: Path, names: NameMap | None = None) -> Checkpoint:
        """Read the headers. Raises FileProblem when it is no whole model, or of a family that is not known."""
        files = tuple(_files(path)) if path.is_dir() else ((None, TensorFile.open(path)),)
        if names is not None:
            return cls(path=path, files=files, names=names)
        for table in FAMILIES:
            found = cls(path=path, files=files, names=NameMap.of(table.trees()))
            if found.is_whole:
                return found
        raise FileProblem(
            f"{path.name} is no model of a family that is known",
            given=f"{sum(len(file.names) for _, file in files)} tensors",
            expected="a checkpoint, or a folder as diffusers writes it",
            do="check that it is the model and not an adapter",
        )

    @cached_property
    def held(self) -> tuple[Held, ...]:
        """Every tensor that holds weights which adapters may change, in the order of the files."""
        return tuple(held for component, file in self.files for held in self._of_file(component, file))

    @cached_property
    def weights(self) -> Mapping[tuple[str, str, str], tuple[Held, Seat]]:
        """(component, module, parameter) → the tensor that holds it."""
        return {
            (seat.component, seat.module, held.parameter): (held, seat) for held in self.held for seat in held.seats
        }

    @property
    def is_whole(self) -> bool:
        """Whether all weights of the image model are there, in their shapes."""
        component = next(iter(self.names.trees))
        tree = self.names.trees[component]
        return all(
            (found := self.weights.get((component, module, parameter))) is not None
            and squeezed(_rows(found[0].file.shape(found[0].key), found[1])) == squeezed(shape)
            for module, shapes in tree.items()
            for parameter, shape in shapes.items()
            if parameter == "weight"
        )

    def weight(self, component: str, module: str, parameter: str) -> Tensor | None:
        """One weight of the model in the format of the file, in the model's shape; None where there is none."""
        if (component, module, parameter) not in self.weights:
            return None
        held, seat = self.weights[component, module, parameter]
        tensor = rows_of(held.tensor(), seat)
        shape = self.names.shape(seat.place, parameter)
        return tensor if shape is None else tensor.reshape(shape)

    def _of_file(self, component: str | None, file: TensorFile) -> Iterator[Held]:
        single = component is None and not any(key.startswith(prefix) for key in file.names for prefix, _ in PREFIXES)
        bare = (("", ("unet", "transformer")),)
        prefixes = ((("", (component,)),) if component else bare) if component or single else PREFIXES
        for key in file.names:
            prefix, components = next(((begin, known) for begin, known in prefixes if key.startswith(begin)), ("", ()))
            module, _, parameter = key[len(prefix) :].rpartition(".")
            if parameter in FUSED_PARAMETERS:
                module, parameter = f"{module}.in_proj", FUSED_PARAMETERS[parameter]
            turned = not module and parameter == PROJECTION and len(file.shape(key)) == 2
            if turned:
                module, parameter = PROJECTION, "weight"
            for one in components:
                seats = self.names.find_dotted(one, module)
                if seats and parameter in ("weight", "bias"):
                    yield Held(file=file, key=key, seats=seats, parameter=parameter, turned=turned)


def rows_of(tensor: Tensor, seat: Seat) -> Tensor:
    """The rows of a tensor of the file that lie on a seat; a view where they are one range."""
    if seat.take is None:
        return tensor
    first, end = seat.take[0]
    return tensor[first:end] if len(seat.take) == 1 else tensor[[row for span in seat.take for row in range(*span)]]


def put_rows(tensor: Tensor, seat: Seat, rows: Tensor) -> None:
    """Write the rows of a seat back."""
    reached = 0
    for first, end in seat.take or ((0, tensor.shape[0]),):
        tensor[first:end] = rows[reached : reached + end - first].reshape(tensor[first:end].shape)
        reached += end - first


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files with the weights of one part: one, or all shards of an index. Empty where there are none."""
    for stem in STEMS:
        if (folder / f"{stem}.safetensors").is_file():
            return (folder / f"{stem}.safetensors",)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        if index.stat().st_size <= INDEX_CAP_BYTES:
            return _shards(index)
    variants = sorted(path for stem in STEMS for path in folder.glob(f"{stem}.*.safetensors"))
    return tuple(variants[:1])


def _rows(shape: Shape, seat: Seat) -> Shape:
    return shape if seat.take is None else (sum(end - first for first, end in seat.take), *shape[1:])


def _files(folder: Path) -> Iterator[tuple[str, TensorFile]]:
    for component in ("unet", "transformer", "transformer_2", "text_encoder", "text_encoder_2", "text_encoder_3"):
        if (folder / component).is_dir():
            found = weight_files(folder / component)
            if not found:
                raise FileProblem(
                    "a part of the model has no weights in safetensors files",
                    given=str(folder / component),
                    do="save the folder with safetensors, or use a single file",
                )
            for path in found:
                yield component, TensorFile.open(path)


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        shards = tuple(index.parent / name for name in dict.fromkeys(names) if Path(name).name == name)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UnreadableFile("an index of shards is broken", given=str(index), do="fetch it again") from None
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise FileProblem("parts of a model are missing", given=", ".join(missing), do="fetch the missing files")
    return shards
