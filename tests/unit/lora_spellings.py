"""Small models with the names of the published ones, files for them, and what the files change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sakuga.lora.adapter import Adapter
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap
from sakuga.tensors.seat import Tree
from sakuga.tensors.tables.families import FAMILIES

RANK, ALPHA = 2, 0.5
Pairs = Mapping[str, tuple[Tensor, Tensor]]  # module → (up, down)
LEAVES = {"kohya": ("lora_down.weight", "lora_up.weight"), "peft": ("lora_A.weight", "lora_B.weight")}
LEAVES |= {"named": ("lora_A.default.weight", "lora_B.default.weight"), "dot": ("lora.down.weight", "lora.up.weight")}


def small(tree: Tree, blocks: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """A tree with the first blocks of each list only and every size of a layer divided by 64."""

    def kept(module: str) -> bool:
        number = next((part for part in module.split(".")[:3] if part.isdigit()), "0")
        return int(number) < blocks

    return {
        module: {own: (*(max(1, size // 64) for size in shape[:2]), *shape[2:]) for own, shape in parameters.items()}
        for module, parameters in tree.items()
        if kept(module)
    }


def names_of(family: str, variant: str = "", blocks: int = 1) -> NameMap:
    """The map of a published family of models, made small."""
    table = next(one for one in FAMILIES if one.name == family and variant in ("", one.variant))
    return NameMap.of({component: small(tree, blocks) for component, tree in table.trees().items()})


def pair_of(rows: int, features: int) -> tuple[Tensor, Tensor]:
    """Random factors: (up, down)."""
    return torch.randn(rows, RANK), torch.randn(RANK, features)


def file_of(folder: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> TensorFile:
    """The tensors as a file."""
    path = folder / "adapter.safetensors"
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, path, dict(metadata) if metadata else None
    )
    return TensorFile.open(path)


def keys_of(pairs: Pairs, leaves: str = "kohya", before: str = "", *, alpha: bool = True) -> dict[str, Tensor]:
    """The pairs under their keys: ``before``, the stem, the leaves."""
    down, up = LEAVES[leaves]
    tensors = {}
    for stem, (high, low) in pairs.items():
        tensors |= {f"{before}{stem}.{down}": low, f"{before}{stem}.{up}": high}
        tensors |= {f"{before}{stem}.alpha": torch.tensor(ALPHA)} if alpha else {}
    return tensors


def plain_keys(pairs: Pairs, between: str = ".") -> dict[str, Tensor]:
    """The pairs under ``stem.up.weight`` and ``stem.down.weight``; ``between`` in the place of the dot."""
    return {
        f"{stem}{between}{leaf}.weight": factor
        for stem, pair in pairs.items()
        for leaf, factor in zip(("up", "down"), pair, strict=True)
    }


def flat(pairs: Pairs) -> Pairs:
    """The same stems with underscores."""
    return {stem.replace(".", "_"): pair for stem, pair in pairs.items()}


def product(pair: tuple[Tensor, Tensor], alpha: float | None = ALPHA) -> Tensor:
    """ΔW in float64."""
    up, down = pair
    return (up.double() @ down.double()) * (1.0 if alpha is None else alpha / RANK)


def changes_of(adapter: Adapter, names: NameMap) -> dict[str, Tensor]:
    """ΔW of every parameter that the adapter changes, on a base of zeros."""
    found: dict[str, Tensor] = {}
    for patch in adapter.patches:
        shape = names.trees[patch.component][patch.module][patch.parameter]
        name = f"{patch.component}.{patch.module}" + ("" if patch.parameter == "weight" else f":{patch.parameter}")
        whole = found.setdefault(name, torch.zeros(shape))
        first, end = patch.into or (0, shape[0])
        whole[first:end] += patch.record.delta(torch.zeros(whole[first:end].shape))
    return found


def assert_changes(adapter: Adapter, names: NameMap, expected: Mapping[str, Tensor]) -> None:
    """The adapter changes these parameters, each by this, and every key is used or told."""
    found = changes_of(adapter, names)
    assert found.keys() == expected.keys()
    for name, change in expected.items():
        error = (found[name].double() - change.reshape(found[name].shape)).norm() / change.norm()
        assert error <= 1e-6, name
    assert adapter.used_keys + len(adapter.leftovers) == adapter.total_keys
