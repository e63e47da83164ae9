"""Prompts: text to the embeddings that a UNet looks at, with emphasis, embeddings by name, clip skip and any length.

A plain prompt gives the numbers of diffusers' StableDiffusionPipeline. The text encoder's tables are never changed: the
vectors of embeddings take their places in what the token table answers, for one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from sakuga.errors import JobError
from sakuga.models.bundle import Bundle
from sakuga.models.chunks import Row, Slot, Style, rows_of
from sakuga.models.embedding import Embedding, check_width
from sakuga.models.tokenizer import POSITIONS

if TYPE_CHECKING:
    from sakuga.models.skeletons import TextEncoder

# Below this share of the spread a mean is but rounding, and keeping it would mean dividing noise by noise: so it
# is with text encoders whose last norm was hardly trained.
MEAN_COUNTS = 0.01


@dataclass(frozen=True, kw_only=True)
class Used:
    """What a prompt came to: its tokens as text, the embeddings found in it, and its rows of 77."""

    tokens: tuple[str, ...]
    embeddings: tuple[str, ...]
    rows: int


class Encoded(NamedTuple):
    """The embedding of a prompt [1, 77 · rows, width] float32, and what was used for it."""

    states: Tensor
    used: Used


def encode(
    bundle: Bundle,
    text: str,
    *,
    clip_skip: int = 1,
    embeddings: Sequence[Embedding] = (),
    least_rows: int = 1,
    style: Style = "a1111",
) -> Encoded:
    """Encode ``text``. ``clip_skip`` k stops k − 1 layers early, before the final norm; ``least_rows``: padded with "".

    Emphasis as in A1111's web UI (its wiki, "Attention/emphasis"; its sd_hijack_clip.py): the states of a row are
    scaled token by token, then the whole row so that its mean (if it has one) is what it was. Raises JobError for a
    clip_skip beyond the encoder's layers, FileProblem for embeddings of another width.
    """
    for embedding in embeddings:
        check_width(embedding, bundle)
    layers = int(bundle.text_encoder.config.num_hidden_layers)
    if not 1 <= clip_skip <= layers:
        raise JobError(
            "clip_skip is beyond the layers of the text encoder",
            given=str(clip_skip),
            expected=f"1 … {layers} for {bundle.name}",
            do="1 uses all layers, 2 leaves out the last",
        )
    positions = min(POSITIONS, int(bundle.text_encoder.config.max_position_embeddings))
    rows = rows_of(text, bundle.tokenizer, embeddings, positions, style)
    empty = rows_of("", bundle.tokenizer, (), positions)
    padded = rows + empty * (least_rows - len(rows))
    states = torch.cat([_row_states(bundle.text_encoder, row, clip_skip) for row in padded], dim=1)
    return Encoded(states=states, used=_used(bundle, rows, len(padded)))


def encode_pair(
    bundle: Bundle,
    text: str,
    negative: str,
    *,
    clip_skip: int = 1,
    embeddings: Sequence[Embedding] = (),
    style: Style = "a1111",
) -> tuple[Encoded, Encoded]:
    """A prompt and its negative. In A1111's style they are padded to as many rows, so that one batch can hold both; the
    plain style leaves each as long as it is, because padding is not without effect.
    """
    if style == "plain":
        return (
            encode(bundle, text, clip_skip=clip_skip, embeddings=embeddings, style=style),
            encode(bundle, negative, clip_skip=clip_skip, embeddings=embeddings, style=style),
        )
    first = encode(bundle, text, clip_skip=clip_skip, embeddings=embeddings)
    second = encode(bundle, negative, clip_skip=clip_skip, embeddings=embeddings, least_rows=first.used.rows)
    if first.used.rows < second.used.rows:
        first = encode(bundle, text, clip_skip=clip_skip, embeddings=embeddings, least_rows=second.used.rows)
    return first, second


@torch.no_grad()
def _row_states(encoder: TextEncoder, row: Row, clip_skip: int) -> Tensor:
    """The states [1, 77, width] of one row, float32."""
    inner: TextEncoder = getattr(encoder, "text_model", encoder)  # transformers before 5.6 has one level more
    tokens = torch.tensor([[slot.token for slot in row]], device=inner.final_layer_norm.weight.device)
    with _vectors_in_place(inner.embeddings.token_embedding, row):
        answer = encoder(tokens, output_hidden_states=clip_skip > 1)
    states = answer.last_hidden_state if clip_skip == 1 else inner.final_layer_norm(answer.hidden_states[-clip_skip])
    return _emphasised(states.float(), row)


@contextmanager
def _vectors_in_place(table: nn.Embedding, row: Row) -> Iterator[None]:
    """While inside, the token table answers with the embeddings' vectors at their positions; it stays as it is."""
    taken = [(place, slot.embedding.vectors[slot.vector]) for place, slot in enumerate(row) if slot.embedding]
    if not taken:
        yield
        return

    def put(_: nn.Module, __: tuple[Tensor, ...], answer: Tensor) -> Tensor:
        changed = answer.clone()
        for place, vector in taken:
            changed[:, place] = vector.to(changed)
        return changed

    handle = table.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def _emphasised(states: Tensor, row: Row) -> Tensor:
    if all(slot.strength == 1.0 for slot in row):
        return states
    strengths = torch.tensor([slot.strength for slot in row], device=states.device)
    scaled = states * strengths[None, :, None]
    before, after = float(states.mean()), float(scaled.mean())
    told = abs(before) > MEAN_COUNTS * float(states.std()) and before * after > 0
    return scaled * (before / after) if told else scaled


def _used(bundle: Bundle, rows: Sequence[Row], count: int) -> Used:
    inner = [slot for row in rows for slot in _content(row, bundle)]
    names = dict.fromkeys(slot.embedding.name for slot in inner if slot.embedding)
    return Used(tokens=tuple(_spoken(slot, bundle) for slot in inner), embeddings=tuple(names), rows=count)


def _content(row: Row, bundle: Bundle) -> Iterator[Slot]:
    """The slots of a row behind its BOS, if it has one, up to its first EOS."""
    begin, end = int(bundle.tokenizer.bos_token_id), int(bundle.tokenizer.eos_token_id)
    for place, slot in enumerate(row):
        if slot.embedding is None and slot.token == end:
            return
        if place or slot.embedding or slot.token != begin:
            yield slot


def _spoken(slot: Slot, bundle: Bundle) -> str:
    if slot.embedding is not None:
        return f"{slot.embedding.name}_{slot.vector}"
    return str(bundle.tokenizer.convert_ids_to_tokens(slot.token))
