"""The museum: headers of real files without their contents, small enough to lie among the tests.

An exhibit has the names, shapes and formats of all tensors, the numbers that are one number (alphas), and of the
metadata the keys and what is no private matter. It reads as the file does: that is checked before it is given out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakuga.errors import FileProblem, UnreadableFile
from sakuga.lora.survey import Survey, survey
from sakuga.lora.training import training
from sakuga.tensors.entry import TORCH_NAMES

if TYPE_CHECKING:
    import torch

    from sakuga.lora.formats import Header

SCHEMA = 1
CONFIG = "adapter_config.json"
# Fields of a PEFT config by which files are read; names of people's models and folders are not among them.
CONFIG_FIELDS: tuple[str, ...] = (
    "peft_type",
    "r",
    "lora_alpha",
    "alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
)
CONFIG_FIELDS += ("use_dora", "lora_bias", "bias", "fan_in_fan_out", "init_lora_weights", "target_modules")
CONFIG_FIELDS += ("use_effective_conv2d", "decompose_both", "decompose_factor", "oft_block_size", "boft_block_size")
CONFIG_FIELDS += ("boft_n_butterfly_factor", "coft", "eps", "block_share", "use_cayley_neumann", "exclude_modules")
CONFIG_FIELDS += ("num_cayley_neumann_terms", "use_qalora", "layer_replication", "target_parameters")
CONFIG_FIELDS += ("feedforward_modules", "modules_to_save", "init_r")
HEADER_CONFIG = "lora_adapter_metadata"
# Values that people have made up: nothing is read from them.
CHOSEN = frozenset(
    {"ss_output_name", "training_info"}
    | {f"modelspec.{key}" for key in ("title", "author", "date", "license", "usage_hint", "trigger_phrase")}
    | {f"modelspec.{key}" for key in ("description", "tags", "merged_from")}
)
KNOWN_STEMS = ("adapter_model", "pytorch_lora_weights")  # by which a layout may look for a config beside the file


class Exhibit:
    """A stripped header as a Header: whatever asks a TensorFile for names and shapes may ask this."""

    def __init__(self, told: Mapping[str, Any], folder: Path) -> None:
        """``folder``: where the file would lie, for a layout that looks for a config beside it."""
        self.told = told
        self.path = folder / told["file"]
        self._tensors = {name: (dtype, tuple(shape)) for name, (dtype, shape) in told["tensors"].items()}
        self.names = tuple(self._tensors)
        self.metadata: Mapping[str, str] = told["metadata"]
        self.extras: Mapping[str, object] = told["extras"]

    @classmethod
    def open(cls, path: Path) -> Exhibit:
        """The exhibit in a fixture. Raises UnreadableFile for anything else."""
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")), path.parent)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise UnreadableFile(
                f"{path.name} is no exhibit of the museum", given=f"{path}: {problem}", do="make it with lora museum"
            ) from problem

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of a tensor."""
        return self._tensors[name][1]

    def dtype(self, name: str) -> str:
        """The number format of a tensor."""
        return self._tensors[name][0]

    def tensor(self, name: str) -> torch.Tensor:
        """The number itself where a tensor is one number, else zeros."""
        import torch

        dtype, shape = self._tensors[name]
        return torch.full(shape, self.told["numbers"].get(name, 0), dtype=getattr(torch, TORCH_NAMES[dtype]))

    def lay_out(self, folder: Path) -> Exhibit:
        """The same as if it lay in ``folder``, where the config that stood beside the file is written."""
        if self.told["config"] is not None:
            (folder / CONFIG).write_text(json.dumps(self.told["config"]), encoding="utf-8")
        return Exhibit(self.told, folder)


def strip(file: Header) -> dict[str, Any]:
    """The exhibit of a file as plain data, with what is read from it as ``expected``. Raises what ``survey`` raises."""
    found = survey(file)
    shown = training(file.metadata)["shown"]
    metadata = {key: shown[key] if key in shown and key not in CHOSEN else "" for key in file.metadata}
    if HEADER_CONFIG in metadata:
        metadata[HEADER_CONFIG] = json.dumps(_config(file.metadata[HEADER_CONFIG], file.path))
    beside = file.path.with_name(CONFIG)
    config = _config(beside.read_text(encoding="utf-8"), beside) if found.config and beside.is_file() else None
    told = {
        "schema": SCHEMA,
        "file": (file.path.stem if file.path.stem in KNOWN_STEMS else "adapter") + file.path.suffix,
        "expected": expectation(found),
        "metadata": metadata,
        "config": config,
        "extras": {key: value for key, value in file.extras.items() if isinstance(value, bool | int | float)},
        "numbers": {name: file.tensor(name).item() for name in file.names if _is_number(file, name)},
        "tensors": {name: [file.dtype(name), list(file.shape(name))] for name in file.names},
    }
    return told


def expectation(found: Survey) -> dict[str, Any]:
    """What a reader has to say of a file: the part of a survey that an exhibit is checked by."""
    verdicts: dict[str, int] = {}
    algorithms: dict[str, int] = {}
    for module in found.modules:
        verdicts[module.verdict] = verdicts.get(module.verdict, 0) + 1
        algorithms[module.algorithm] = algorithms.get(module.algorithm, 0) + 1
    return {
        "layout": found.layout,
        "family": found.family.family,
        "algorithms": algorithms,
        "verdicts": verdicts,
        "beside": len(found.beside),
        "keys": found.total_keys,
    }


def check_exhibit(exhibit: Exhibit) -> None:
    """Raise FileProblem when an exhibit is not read as it says."""
    given = expectation(survey(exhibit))
    expected = exhibit.told["expected"]
    if given != expected:
        raise FileProblem(
            "without its private parts this file is read otherwise, so it cannot be an exhibit",
            given=f"{given}",
            expected=f"{expected}",
            do="tell us of the file; do not send it",
        )


def _is_number(file: Header, name: str) -> bool:
    return file.shape(name) in ((), (1,)) and file.dtype(name) in TORCH_NAMES


def _config(text: str, path: Path) -> dict[str, Any]:
    """The fields of a PEFT config that are no one's private matter."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UnreadableFile("a PEFT config is not JSON", given=f"{path}: {problem}") from None
    plain = fields if isinstance(fields, dict) else {}
    return {key: value for key, value in plain.items() if key.rpartition(".")[2] in CONFIG_FIELDS}
