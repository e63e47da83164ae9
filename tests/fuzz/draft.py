"""A draft of an adapter file: tensors, metadata and values under their keys, and the writers of the three containers.

What is written may be wrong in any part; a draft is what a mutation takes hold of.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.serialization import set_crc32_options

from sakuga.tensors.entry import TORCH_NAMES

Container = Literal["safetensors", "zip", "unchecked zip", "legacy"]
WORDS = {getattr(torch, own): word for word, own in TORCH_NAMES.items()}


@dataclass(kw_only=True)
class Draft:
    """``tensors`` are pairs, because a key may be there twice. ``entries``: fields of the header that are written as
    they stand, by the place of the tensor. ``values`` are what a pickle holds beside tensors. ``config``: the text of a
    file beside it.
    """

    model: str
    tensors: list[tuple[str, Tensor]]
    metadata: Any = None
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    values: dict[Any, Any] = field(default_factory=dict)
    wrapped: str = ""
    container: Container = "safetensors"
    config: str | None = None

    def copy(self) -> Draft:
        """Another one of the same content; tensors are shared and never written into."""
        return Draft(
            model=self.model,
            tensors=list(self.tensors),
            metadata=dict(self.metadata) if isinstance(self.metadata, dict) else self.metadata,
            entries=dict(self.entries),
            values=dict(self.values),
            wrapped=self.wrapped,
            container=self.container,
            config=self.config,
        )

    def write(self) -> bytes:
        """The file's bytes."""
        return self._safetensors() if self.container == "safetensors" else self._pickle()

    def _safetensors(self) -> bytes:
        members, payload, start = [], [], 0
        if self.metadata is not None:
            members.append(f'"__metadata__":{json.dumps(self.metadata)}')
        for place, (name, tensor) in enumerate(self.tensors):
            raw = torch.cat((tensor.reshape(-1),)).view(torch.uint8).numpy().tobytes()
            fields = {
                "dtype": WORDS.get(tensor.dtype, "C64"),
                "shape": list(tensor.shape),
                "data_offsets": [start, start + len(raw)],
            }
            fields.update(self.entries.get(place, {}))
            members.append(f"{json.dumps(name)}:{json.dumps(fields)}")
            payload.append(raw)
            start += len(raw)
        header = ("{" + ",".join(members) + "}").encode()
        return struct.pack("<Q", len(header)) + header + b"".join(payload)

    def _pickle(self) -> bytes:
        value: Any = {**dict(self.tensors), **self.values}
        for level in filter(None, self.wrapped.split(".")):
            value = [value] if level == "[]" else {level: value}
        target = io.BytesIO()
        set_crc32_options(self.container == "zip")
        try:
            torch.save(value, target, _use_new_zipfile_serialization=self.container != "legacy")
        finally:
            set_crc32_options(True)
        return target.getvalue()
