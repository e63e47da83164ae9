"""Output: the adapter file that a tool writes, module by module, in one of the layouts.

kohya's holds alpha beside the factors; diffusers' and PEFT's hold it in a config, which is written where an alpha is
not the rank. PEFT's is a folder, and one for each part where there are several.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor

from sakuga.errors import AdapterDoesNotFit, OutputError
from sakuga.lora.formats.peft_config import HEADER_KEY
from sakuga.lora.tools.spelling import Label, Layout, key_of
from sakuga.tensors.write import Spool
from sakuga.whole import Ours, appearing_whole, check_place, writing

SUFFIX = ".safetensors"
COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
ADDITIVE_PEFT = frozenset({"up", "down", "magnitude", "up_bias", "lora_embedding_A", "lora_embedding_B"})
Numbers = Literal["fp16", "bf16", "fp32"]
DTYPES: Mapping[Numbers, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an output goes. Raises OutputError when its name is none for the layout."""

    path: Path
    layout: Layout = "kohya"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.layout == "peft" and self.path.suffix == SUFFIX:
            raise OutputError("PEFT's layout is a folder", given=str(self.path), do=f"leave out {SUFFIX}")
        if self.layout != "peft":
            check_suffix(self.path)

    def check(self) -> None:
        """Raise OutputError if nothing can or may be written there."""
        check_place(self.path, overwrite=self.overwrite, ours=self.ours)

    @property
    def ours(self) -> Ours | None:
        """What gives way to a new folder: another one of this layout."""
        return _of_peft if self.layout == "peft" else None


def _of_peft(name: str) -> bool:
    *folder, file = name.split("/")
    return file in (PEFT_WEIGHTS, PEFT_CONFIG) and (not folder or folder in [[part] for part in COMPONENTS])


def check_suffix(path: Path) -> None:
    """Raise OutputError for the name of a file that would not be known for what it is."""
    if path.suffix != SUFFIX:
        raise OutputError(f"what is written is a {SUFFIX} file", given=path.name, do=f"end its name in {SUFFIX}")


@dataclass(frozen=True, kw_only=True)
class _Scaled:
    """What a config says of one module."""

    path: str
    rank: int
    alpha: float
    leaves: frozenset[str]


@dataclass(kw_only=True, eq=False)
class NewAdapter:
    """An adapter file in the making. A context manager; ``finish`` puts it in its place, otherwise nothing is left.

    ``notes``: what else was found and removed at that place.
    """

    place: Place
    labels: list[str] = field(default_factory=list)
    ranks: Counter[int] = field(default_factory=Counter)
    size_bytes: int = 0
    notes: tuple[str, ...] = ()
    unsound: list[str] = field(default_factory=list)  # labels of modules with NaN or infinity in them
    _spools: dict[str, Spool] = field(default_factory=dict)
    _scaled: dict[str, list[_Scaled]] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def add(
        self, label: Label, leaves: Mapping[str, Tensor], *, alpha: float | None = None, state_alpha: bool = True
    ) -> None:
        """One module: canonical leaf → tensor as it is to be stored. ``alpha`` None: the rank.

        In kohya's layout a pair gets its alpha, unless ``state_alpha`` is False or there is one among the leaves.
        Raises AdapterDoesNotFit for leaves that the layout has no place for.
        """
        down = leaves.get("down", leaves.get("lora_embedding_A"))
        layout = self.place.layout
        if layout != "kohya" and (down is None or not leaves.keys() <= ADDITIVE_PEFT):
            strange = ", ".join(sorted(leaves.keys() - ADDITIVE_PEFT)) or "a change without a pair"
            raise AdapterDoesNotFit(
                f"{layout}'s layout has no place for all of this adapter",
                given=f"{label.name}: {strange}",
                do="write it in kohya's layout",
            )
        for leaf, tensor in leaves.items():
            self._write(label, key_of(label, leaf, layout), tensor)
        if not all(is_finite(tensor) for tensor in leaves.values()):
            self.unsound.append(label.name)
        rank = None if down is None else int(down.shape[0])
        if layout == "kohya" and state_alpha and rank is not None and "alpha" not in leaves:
            self._write(label, key_of(label, "alpha", layout), torch.tensor(float(rank if alpha is None else alpha)))
        if rank is not None:
            self.ranks[rank] += 1
            one = _Scaled(path=label.path, rank=rank, alpha=rank if alpha is None else alpha, leaves=frozenset(leaves))
            self._scaled.setdefault(label.component, []).append(one)
        self.labels.append(label.name)

    def add_key(self, key: str, tensor: Tensor) -> None:
        """A tensor that is of no module, under its own key. PEFT's layout has no place for it."""
        assert self.place.layout != "peft"
        self._write(Label(), key, tensor)

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the file, or the folder. Raises OutputError, and AdapterDoesNotFit when there is nothing to write."""
        if not self.labels:
            raise AdapterDoesNotFit(
                "nothing is left to write: no module is changed",
                given=self.place.path.name,
                expected="a change of some module",
                do="give weights that are not 0, or models that differ",
            )
        mixed = [scaled for scaled in self._scaled.values() if len({"magnitude" in one.leaves for one in scaled}) > 1]
        if mixed and self.place.layout != "kohya":
            title = f"{self.place.layout}'s layout holds DoRA for all modules of a part or for none"
            raise AdapterDoesNotFit(title, given=self.place.path.name, do="write it in kohya's layout")
        if self.place.layout == "peft":
            self._finish_folders(metadata)
            return
        if self.place.layout == "diffusers" and self._config_needed():
            told = {
                f"{component}.{name}": value
                for component, scaled in self._scaled.items()
                for name, value in _config(scaled).items()
            }
            metadata = {**metadata, HEADER_KEY: json.dumps(told, sort_keys=True)}
        with appearing_whole(self.place.path, overwrite=self.place.overwrite) as new:
            self._spools[""].save(new.hidden, metadata)
            self.size_bytes = new.hidden.stat().st_size
        self.notes = new.notes

    def _finish_folders(self, metadata: Mapping[str, str]) -> None:
        single = len(self._spools) == 1
        place, overwrite = self.place.path, self.place.overwrite
        with appearing_whole(place, overwrite=overwrite, ours=self.place.ours) as new, writing(place):
            for component, spool in self._spools.items():
                folder = new.hidden if single else new.hidden / component
                folder.mkdir(parents=True)
                spool.save(folder / PEFT_WEIGHTS, metadata)
                config = json.dumps(_config(self._scaled[component]), indent=2, sort_keys=True)
                (folder / PEFT_CONFIG).write_text(config + "\n", encoding="utf-8")
                self.size_bytes += (folder / PEFT_WEIGHTS).stat().st_size
        self.notes = new.notes

    def _config_needed(self) -> bool:
        every = [one for scaled in self._scaled.values() for one in scaled]
        return any(one.alpha != one.rank or not one.leaves <= {"up", "down"} for one in every)

    def _write(self, label: Label, key: str, tensor: Tensor) -> None:
        part = label.component if self.place.layout == "peft" else ""
        if part not in self._spools:
            self._spools[part] = self._open.enter_context(Spool(self.place.path))
        self._spools[part].add(key, tensor)

    def __enter__(self) -> Self:
        self.place.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def is_finite(tensor: Tensor) -> bool:
    """Whether no number of it is NaN or infinite, in whatever format."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.float()).all())


def stored(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """The tensor in the number format of the file. Raises AdapterDoesNotFit when it is beyond its range."""
    with torch.no_grad():
        cast = tensor.to(dtype)
    if not bool(torch.isfinite(cast).all()):
        wider = "write it with --dtype bf16 or fp32" if dtype == torch.float16 else "give the adapters lower weights"
        largest = f"numbers up to {torch.finfo(dtype).max:.3g}"
        raise AdapterDoesNotFit(
            f"a change is beyond the range of {word_of(dtype)}", given=name, expected=largest, do=wider
        )
    return cast.contiguous()


def word_of(dtype: torch.dtype) -> str:
    """What people call a number format: fp16."""
    return next((word for word, known in DTYPES.items() if known == dtype), str(dtype).removeprefix("torch."))


def _config(scaled: list[_Scaled]) -> dict[str, Any]:
    """PEFT's config for these modules: the commonest rank and alpha, and the others by their whole names."""
    rank = Counter(one.rank for one in scaled).most_common(1)[0][0]
    alpha = Counter(one.alpha for one in scaled).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{one.path}": one.rank for one in scaled if one.rank != rank},
        "alpha_pattern": {f"^{one.path}": one.alpha for one in scaled if one.alpha != alpha},
        "target_modules": sorted(one.path for one in scaled),
        "bias": "none",
        "lora_dropout": 0.0,
        "use_dora": any("magnitude" in one.leaves for one in scaled),
        "lora_bias": any("up_bias" in one.leaves for one in scaled),
        "fan_in_fan_out": False,
        "use_rslora": False,
    }
