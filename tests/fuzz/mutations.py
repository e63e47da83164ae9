"""Mutations with structure: what may be wrong with names, shapes, formats, numbers, metadata and configs.

Each takes a draft that it may change and a source of chance; the next layer down, bytes, is in ``noise``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from tests.fuzz.draft import Draft
from torch import Tensor

Mutation = Callable[[Draft, Random], None]


def _words(text: str) -> list[str]:
    return text.split()


LEAVES = _words(
    "alpha scale scalar lora_down.weight lora_up.weight lora_mid.weight lora_A.weight lora_B.weight lora_A.x.weight "
    "lora_B.bias hada_w1_a hada_t1 lokr_w1 lokr_w2 lokr_w2_a lokr_t2 oft_blocks oft_blocks.0 oft_diag oft_R.weight "
    "oft_r oft_s boft_R boft_s rescale dora_scale magnitude lora_magnitude_vector diff diff_b w_norm b_norm set_weight "
    "reshape_weight ia3_l weight on_input a1.weight b2.weight lambda_layer q_layer.weight bias_indices bias_values "
    "bias_size lora_embedding_A lora_E ranknum lora_diag glora_A bias oft_R.scaled_oft lora_time_gamma.weight"
)
PREFIXES = _words(
    "lora_unet_ lora_unet__ lora_te_ lora_te1_ lora_te2_ lora_te3_ lora_transformer_ lycoris_ oft_unet_ unet. "
    "text_encoder. text_encoder_2. transformer. base_model.model. diffusion_model. model.diffusion_model. module. "
    "_orig_mod. state_dict. lllite_unet_ bundle_emb.word. _aux. unet:0: clip_l. double_blocks.0.processor."
)
LETTERS = (
    "\0",
    "\n",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "é",
    "..",
    ".",
    "_",
    " ",
    "%s",
    "{}",
    "/../",
    "0" * 40,
    "x" * 1100,
)
NUMBERS = (0.0, -1.0, 1.0, math.nan, math.inf, -math.inf, 1e30, -1e30, 1e-30, 65504.0, 3.4e38, 1e-45, 2.0**24)
SIZES = (0, 1, 2, 3, 4, 7, 8, 9, 16, 17, 24, 64, 255)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2)
DTYPES += (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64)
WORDS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "I8", "U64", "BOOL", "C64", "", None, 3)
ODD: tuple[Any, ...] = (None, True, 0, -1, 2**63, 10**400, 1e30, "", "None", "NaN", [], {}, [1], {"a": 1}, "x" * 3000)
TEXTS = ("{", "[" * 50, '{"a":' * 30, "flux", "sdxl_base_v1-0", '{"split_qkv":"True"}', "\ud800", "\x1b[2J")
PATTERNS = ("to_q", "^unet.*$", "(a+)+$", "[", "attn1\\.to_(q|k)", ".*", "transformer_blocks.\\d+.attn", "")
FIELDS = _words(
    "peft_type r lora_alpha alpha rank_pattern alpha_pattern use_rslora use_dora lora_bias bias fan_in_fan_out "
    "init_lora_weights target_modules modules_to_save layer_replication use_qalora feedforward_modules coft eps "
    "use_cayley_neumann num_cayley_neumann_terms block_share auto_mapping target_parameters decompose_both init_r"
)
META = _words(
    "ss_network_args ss_base_model_version modelspec.architecture ss_network_dim ss_network_alpha ss_tag_frequency "
    "ss_output_name sshs_model_hash software ot_branch unet text_encoder unet:0:rank modelspec.thumbnail format"
)


def _place(draft: Draft, chance: Random) -> int:
    return chance.randrange(len(draft.tensors))


def _renamed(draft: Draft, place: int, name: str) -> None:
    draft.tensors[place] = (name, draft.tensors[place][1])


def _given(draft: Draft, place: int, tensor: Tensor) -> None:
    draft.tensors[place] = (draft.tensors[place][0], tensor)


def other_leaf(draft: Draft, chance: Random) -> None:
    """Another algorithm's leaf for the same module."""
    place = _place(draft, chance)
    stem = draft.tensors[place][0].partition("." if chance.random() < 0.5 else ".lora")[0]
    _renamed(draft, place, f"{stem}.{chance.choice(LEAVES)}")


def more_leaf(draft: Draft, chance: Random) -> None:
    """One more leaf beside a module's own."""
    name, tensor = draft.tensors[_place(draft, chance)]
    draft.tensors.append((f"{name.partition('.')[0]}.{chance.choice(LEAVES)}", tensor))


def other_prefix(draft: Draft, chance: Random) -> None:
    """A prefix before a name, or before all of them."""
    prefix = chance.choice(PREFIXES)
    places = range(len(draft.tensors)) if chance.random() < 0.5 else [_place(draft, chance)]
    for place in places:
        _renamed(draft, place, prefix + draft.tensors[place][0])


def odd_name(draft: Draft, chance: Random) -> None:
    """Letters that do not belong into a name, or one that is missing."""
    place = _place(draft, chance)
    name = draft.tensors[place][0]
    at = chance.randrange(len(name) + 1)
    if chance.random() < 0.3:
        _renamed(draft, place, name[: at - 1] + name[at:] if at else "")
    else:
        _renamed(draft, place, name[:at] + chance.choice(LETTERS) + name[at:])


def exchanged(draft: Draft, chance: Random) -> None:
    """Two names change places."""
    one, two = _place(draft, chance), _place(draft, chance)
    first, second = draft.tensors[one][0], draft.tensors[two][0]
    _renamed(draft, one, second)
    _renamed(draft, two, first)


def dropped(draft: Draft, chance: Random) -> None:
    """A tensor less."""
    if len(draft.tensors) > 1:
        del draft.tensors[_place(draft, chance)]


def repeated(draft: Draft, chance: Random) -> None:
    """A key twice."""
    draft.tensors.append(draft.tensors[_place(draft, chance)])


def reshaped(draft: Draft, chance: Random) -> None:
    """Another shape, with the numbers for it."""
    place = _place(draft, chance)
    shape = list(draft.tensors[place][1].shape)
    way = chance.randrange(5)
    if way == 0 and shape:
        shape[chance.randrange(len(shape))] = chance.choice(SIZES)
    elif way == 1:
        chance.shuffle(shape)
    elif way == 2:
        shape.insert(chance.randrange(len(shape) + 1), chance.choice((1, 1, 2)))
    elif way == 3 and shape:
        del shape[chance.randrange(len(shape))]
    else:
        shape = [chance.choice(SIZES[:6]) for _ in range(chance.randrange(7))]
    if math.prod(shape) < 200_000:
        _given(draft, place, torch.ones(shape, dtype=draft.tensors[place][1].dtype))


def recast(draft: Draft, chance: Random) -> None:
    """Another number format, for one tensor or for all."""
    dtype = chance.choice(DTYPES)
    for place in range(len(draft.tensors)) if chance.random() < 0.4 else [_place(draft, chance)]:
        tensor = draft.tensors[place][1]
        _given(draft, place, (tensor.real if tensor.is_complex() else tensor).to(dtype))


def odd_number(draft: Draft, chance: Random) -> None:
    """A number that is none, or far too large: one in a tensor, or all of them."""
    place = _place(draft, chance)
    if chance.random() < 0.5:
        scalars = [at for at, (_, tensor) in enumerate(draft.tensors) if tensor.numel() == 1]
        place = chance.choice(scalars or [place])
    tensor = draft.tensors[place][1]
    if tensor.numel() and tensor.dtype.is_floating_point and tensor.element_size() > 1:
        wide = tensor.double().contiguous().clone().reshape(-1)
        at = slice(None) if chance.random() < 0.5 else slice(chance.randrange(tensor.numel()), tensor.numel(), 97)
        wide[at] = chance.choice(NUMBERS)
        _given(draft, place, wide.reshape(tensor.shape).to(tensor.dtype))


def odd_entry(draft: Draft, chance: Random) -> None:
    """A field of the header that does not agree with the bytes."""
    place = _place(draft, chance)
    shape, size = list(draft.tensors[place][1].shape), draft.tensors[place][1].nbytes
    start = chance.choice((0, 1, size, -1, 2**40, 2**63, 10**40))
    fields = chance.choice(
        (
            {"dtype": chance.choice(WORDS)},
            {"shape": [*shape, chance.choice((0, 1, -1, 2**62, 1.0, None, "1"))]},
            {"shape": chance.choice((None, "", {}, [[]], [2**32, 2**32], shape[::-1]))},
            {"data_offsets": [start, start + size]},
            {"data_offsets": chance.choice(([], [0], [0, 0, 0], None, [size, 0], ["0", size], [0.0, size]))},
            {"more": chance.choice(ODD)},
        )
    )
    draft.entries[place] = {**draft.entries.get(place, {}), **fields}


def odd_metadata(draft: Draft, chance: Random) -> None:
    """A value of the metadata that is not what it should be, or metadata that are none."""
    if chance.random() < 0.1:
        draft.metadata = chance.choice(ODD)
        return
    held = draft.metadata if isinstance(draft.metadata, dict) else {}
    value = chance.choice(
        (*ODD, "{", "[" * 50, '{"a":' * 30, "flux", "sdxl_base_v1-0", '{"split_qkv":"True"}', "\ud800")
    )
    draft.metadata = {**held, chance.choice(META): value}


def odd_config(draft: Draft, chance: Random) -> None:
    """A PEFT config beside the file or in its header, with fields of any kind."""
    fields = {name: _field(name, chance) for name in chance.sample(FIELDS, chance.randrange(1, 6))}
    text = json.dumps(fields)
    if chance.random() < 0.15:
        text = text[: chance.randrange(len(text))]
    if chance.random() < 0.5:
        draft.config = text
        return
    held = draft.metadata if isinstance(draft.metadata, dict) else {}
    parts = {f"{chance.choice(('unet', 'transformer', ''))}.{name}": value for name, value in fields.items()}
    draft.metadata = {**held, "lora_adapter_metadata": json.dumps(parts)}


def _field(name: str, chance: Random) -> Any:
    if name == "peft_type":
        return chance.choice(("LORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3", "ADALORA", "VERA", 3))
    if name.endswith("_pattern") and chance.random() < 0.8:
        return {chance.choice(PATTERNS): chance.choice((*NUMBERS[:8], *ODD)) for _ in range(chance.randrange(4))}
    return chance.choice((*NUMBERS[:8], True, False, *ODD))


def as_pickle(draft: Draft, chance: Random) -> None:
    """The other containers, with values that are no tensors and with dicts around it."""
    draft.container = chance.choice(("zip", "unchecked zip", "legacy"))
    draft.wrapped = chance.choice(("", "", "state_dict", "model.state_dict", "[]", "a" * 50, "x." * 40))
    for _ in range(chance.randrange(3)):
        name = draft.tensors[_place(draft, chance)][0]
        key: Any = chance.choice((name, f"{name}.alpha", f"{name.partition('.')[0]}.alpha", "epoch", 7, None, 1.5))
        draft.values[key] = chance.choice((*ODD, *NUMBERS, "text", b"bytes", (1, 2), [torch.zeros(2)], torch.float16))


MUTATIONS: Sequence[tuple[int, Mutation]] = (
    (3, other_leaf),
    (2, more_leaf),
    (2, other_prefix),
    (3, odd_name),
    (2, exchanged),
    (2, dropped),
    (1, repeated),
    (5, reshaped),
    (3, recast),
    (4, odd_number),
    (3, odd_entry),
    (2, odd_metadata),
    (2, odd_config),
    (3, as_pickle),
)
