"""Embedding: a textual inversion, the vectors that stand for a name in a prompt. Read from every layout there is.

Refuses files with more than one candidate and numbers that are not finite; a width that does not fit is refused when
the embedding meets a text encoder, by ``check_width``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sakuga.errors import FileProblem, UnknownFile
from sakuga.models.bundle import Leftover, Source
from sakuga.models.detect import recognise_keys
from sakuga.models.keys import Keys
from sakuga.models.signatures import spoken
from sakuga.tensors.file import TensorFile

PARAMETERS = "string_to_param."
BUNDLED = ("emb_params", "clip_l", "clip_l_out")  # in what adapters carry, beside A1111's own


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Vectors [n, width] float32 that stand for ``name`` (the file's stem) in a prompt, or for one of ``aliases``."""

    name: str
    vectors: Tensor
    source: Source
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every word in a prompt that means this embedding."""
        return (self.name, *self.aliases)


def load_embedding(path: Path) -> Embedding:
    """Read an embedding: A1111's ``.pt`` and ``.safetensors``, diffusers' ``learned_embeds``, SDXL's (its CLIP-L half).

    Vectors may be one- or two-dimensional. Raises UnknownFile and FileProblem.
    """
    with TensorFile.open(path) as file:
        known = recognise_keys(Keys.of(file), name=path.name)
        if known.role != "embedding":
            raise UnknownFile(
                f"{path.name} is not an embedding",
                given=f"{spoken(known.role)}: it {known.reason}",
                expected="vectors for a text encoder",
                do="use this file where it belongs",
            )
        key = _key(file, known.layout)
        vectors = torch.atleast_2d(file.tensor(key).float())
        rest = [name for name in file.names if name != key]
    _check(path, key, vectors)
    token = () if known.layout != "diffusers" or key == path.stem else (key,)
    source = Source(path=path, role="embedding", used=1, leftovers=tuple(_left(name) for name in rest))
    return Embedding(name=path.stem, vectors=vectors, source=source, aliases=token)


def load_bundled(path: Path, name: str, keys: Mapping[str, str]) -> Embedding:
    """The embedding ``name`` that an adapter file carries; ``keys``: the embedding's own key → the file's.

    Raises FileProblem when there are no vectors for the text encoder among them, or several.
    """
    fitting = [own for own in keys if own.startswith(PARAMETERS) or own in BUNDLED]
    if len(fitting) != 1:
        raise FileProblem(
            f"{path.name} carries an embedding that cannot be read",
            given=f"{name}: {', '.join(keys)}",
            expected=f"one of {PARAMETERS}…, {', '.join(BUNDLED)}",
            do="give the embedding as a file of its own",
        )
    key = keys[fitting[0]]
    with TensorFile.open(path) as file:
        vectors = torch.atleast_2d(file.tensor(key).float())
    _check(path, key, vectors)
    rest = tuple(_left(own) for own in keys if own != fitting[0])
    return Embedding(name=name, vectors=vectors, source=Source(path=path, role="embedding", used=1, leftovers=rest))


class Texted(Protocol):
    """A base with a text encoder, loaded or in outline."""

    @property
    def name(self) -> str: ...
    @property
    def text_width(self) -> int: ...


def check_width(embedding: Embedding, base: Texted) -> None:
    """Raise FileProblem if the vectors are not as wide as the base's text encoder."""
    width = embedding.vectors.shape[1]
    if width != base.text_width:
        raise FileProblem(
            f"the embedding {embedding.name} was made for a text encoder of another width",
            given=f"vectors of width {width}",
            expected=f"{base.text_width}, as the text encoder of {base.name} has",
            do="take it out, or choose a base whose text encoder is as wide as the vectors",
        )


def _key(file: TensorFile, layout: str) -> str:
    if layout == "sdxl":
        return "clip_l"
    keys = [name for name in file.names if layout != "a1111 pt" or name.startswith(PARAMETERS)]
    found = ["emb_params"] if layout == "a1111 safetensors" else keys
    if len(found) != 1:
        raise FileProblem(
            f"{file.path.name} holds more than one embedding",
            given=", ".join(found),
            expected="one",
            do="save them as files of their own",
        )
    return found[0]


def _check(path: Path, key: str, vectors: Tensor) -> None:
    if vectors.ndim != 2 or not vectors.numel() or not torch.isfinite(vectors).all():
        raise FileProblem(
            f"{path.name} holds no usable vectors",
            given=f"{key} {list(vectors.shape)}" + ("" if torch.isfinite(vectors).all() else " with NaN or infinity"),
            expected="finite numbers, [width] or [n, width]",
            do="use another file",
        )


def _left(name: str) -> Leftover:
    reason = "for SDXL's second text encoder" if name == "clip_g" else "a number of A1111's training, not a vector"
    return Leftover(key=name, reason=reason)
