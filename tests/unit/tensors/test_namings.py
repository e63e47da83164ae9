"""The naming tables against diffusers' own converters: the same modules, the same rows, in both directions.

Every row of a weight is a number of its own and a weight is one column wide: a mix-up shows, and nothing is large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils as files

from sakuga.tensors.seat import Aliases, Rows, Seat, Shape, Tree
from sakuga.tensors.tables.clip_text import OPEN_CLIP, OPEN_CLIP_LEVEL
from sakuga.tensors.tables.families.flux import chroma, flux, hunyuan_video
from sakuga.tensors.tables.families.flux2 import flux2
from sakuga.tensors.tables.families.sd3 import sd3
from sakuga.tensors.tables.families.text import clip
from sakuga.tensors.tables.families.unet import motion_modules
from sakuga.tensors.tables.families.wan import wan
from sakuga.tensors.tables.families.z_image import z_image
from sakuga.tensors.tables.flux2_names import FLUX2, FLUX2_PARTS, FLUX2_SLICES
from sakuga.tensors.tables.flux_names import FLUX, FLUX_OMI
from sakuga.tensors.tables.hunyuan_names import HUNYUAN_VIDEO, HUNYUAN_VIDEO_COMFY
from sakuga.tensors.tables.motion_names import motion_names
from sakuga.tensors.tables.naming import Naming
from sakuga.tensors.tables.sd3_names import SD3
from sakuga.tensors.tables.wan_names import WAN
from sakuga.tensors.tables.z_image_names import Z_IMAGE

Tensors = dict[str, torch.Tensor]
FLUX_TREE = flux(double=2, single=2)
SD3_TREE = sd3(depth=3, dual=1, normed=True)
HUNYUAN_TREE = hunyuan_video(double=2, single=2)
FLUX2_TREE = flux2(width=256, double=2, single=2, text=64, guidance=True)
WAN_TREE = wan(width=64, inner=96, depth=2, image=32)
Z_IMAGE_TREE = z_image(depth=2)
CHROMA_TREE = chroma(double=2, single=2)


def parameters(tree: Tree) -> Tensors:
    """Every parameter of a tree: as many different numbers as it has rows."""
    number = count()
    return {
        f"{module}.{name}": torch.tensor([float(next(number)) for _ in range(shape[0])]).view(
            -1, *[1] * (len(shape) - 1)
        )
        for module, shapes in tree.items()
        for name, shape in shapes.items()
    }


def file_of(tree: Tree, names: Aliases) -> Tensors:
    """A checkpoint of the model in the outside naming: what the seats say, read backwards."""
    own, found = parameters(tree), {}
    for other, seats in names.items():
        for parameter in tree[seats[0].module]:
            parts = [own[f"{seat.module}.{parameter}"] for seat in seats]
            rows = torch.tensor([row for seat, part in zip(seats, parts, strict=True) for row in taken(seat, part)])
            whole = torch.empty_like(torch.cat(parts))
            whole[rows] = torch.cat(parts)
            found[f"{other}.{parameter}"] = whole
    return found


def taken(seat: Seat, part: torch.Tensor) -> Iterator[int]:
    ranges: Rows = seat.take or ((0, len(part)),)
    return (row for start, stop in ranges for row in range(start, stop))


def scales(tensors: Tensors, ends: tuple[str, ...]) -> Tensors:
    """Norms whose weight the outside calls ``scale``."""
    plain = {f"{end}.weight": f"{end}.scale" for end in ends}
    return {
        next((key.removesuffix(old) + new for old, new in plain.items() if key.endswith(old)), key): value
        for key, value in tensors.items()
    }


def without_slices(names: Aliases) -> Aliases:
    """Only modules that the outside really has: not ``qkv.0``, and what is called alike in both."""
    fused = {other for other, seats in names.items() if len(seats) > 1}
    return {other: seats for other, seats in names.items() if other.rpartition(".")[0] not in fused}


def alike(tree: Tree, *names: Aliases) -> Aliases:
    """The modules that no table names: their names are the same outside."""
    meant = {seat.module for table in names for seats in table.values() for seat in seats}
    return {module: (Seat(module=module),) for module in tree if module not in meant}


BFL_NORMS = ("query_norm", "key_norm")
CASES: dict[str, tuple[Tree, tuple[Naming, ...], Callable[..., Any], tuple[str, ...], Mapping[str, Shape]]] = {
    "flux": (FLUX_TREE, (FLUX,), files.convert_flux_transformer_checkpoint_to_diffusers, BFL_NORMS, {}),
    "chroma": (
        CHROMA_TREE,
        (FLUX,),
        files.convert_chroma_transformer_checkpoint_to_diffusers,
        (*BFL_NORMS, *(f"norms.{index}" for index in range(5))),
        {},
    ),
    "flux2": (FLUX2_TREE, (FLUX2,), files.convert_flux2_transformer_checkpoint_to_diffusers, BFL_NORMS, {}),
    "sd3": (
        SD3_TREE,
        (SD3,),
        files.convert_sd3_transformer_checkpoint_to_diffusers,
        (),
        {"pos_embed": (1,)},
    ),
    "wan": (WAN_TREE, (WAN,), files.convert_wan_transformer_to_diffusers, (), {}),
    "z-image": (Z_IMAGE_TREE, (Z_IMAGE,), files.convert_z_image_transformer_checkpoint_to_diffusers, (), {}),
    "hunyuan-video": (
        HUNYUAN_TREE,
        (HUNYUAN_VIDEO,),
        files.convert_hunyuan_video_transformer_to_diffusers,
        (),
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_table_is_the_inverse_of_diffusers_converter(case: str) -> None:
    tree, namings, convert, scaled, extra = CASES[case]
    named = without_slices({other: seats for naming in namings for other, seats in naming.aliases(tree).items()})
    outside = file_of(tree, {**named, **alike(tree, named)})
    outside |= {key: torch.zeros(shape) for key, shape in extra.items()}
    found = convert(scales(outside, scaled))
    wanted = parameters(tree)
    found = {key: value for key, value in found.items() if key in wanted or not key.startswith("pos_embed")}
    assert set(found) == set(wanted)
    assert [key for key, value in wanted.items() if not torch.equal(found[key], value)] == []


def test_open_clip_is_the_inverse_of_diffusers_converter() -> None:
    tree = clip(width=16, depth=2, projection=16)
    named = without_slices(OPEN_CLIP_LEVEL.aliases(tree))
    outside = {key.replace("in_proj.", "in_proj_"): value for key, value in file_of(tree, named).items()}
    model = type("Text", (), {"config": type("Config", (), {"hidden_size": 16})()})()
    found = files.convert_open_clip_checkpoint(
        model, {f"x.{key}": value for key, value in outside.items()}, prefix="x."
    )
    wanted = {key: value for key, value in parameters(tree).items() if key in found}
    assert len(wanted) == len(found) == len(parameters(tree)) - 2  # its positions and its projection are no modules
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    assert OPEN_CLIP.aliases(tree) == {} and OPEN_CLIP.aliases(clip(width=16, depth=1))


def test_motion_modules_are_named_as_diffusers_converts_them() -> None:
    tree = motion_modules(widths=(8, 16), middle=True)
    names = motion_names(tree)
    assert len(names) == len(tree)
    numbered = {f"{other}.weight": number for number, other in enumerate(names)}
    found = files.convert_animatediff_checkpoint_to_diffusers(numbered)
    assert found == {f"{seats[0].module}.weight": number for number, seats in enumerate(names.values())}
    original: Tree = {other: tree[seats[0].module] for other, seats in names.items()}
    back = motion_names(original)
    assert {seats[0].module: other for other, seats in back.items() if other in tree} == {
        other: seats[0].module for other, seats in names.items()
    }


def native(tree: Tree, names: Aliases) -> Tree:
    """The tree of the same model in the outside naming."""
    found: dict[str, dict[str, Shape]] = {}
    for other, seats in names.items():
        shape = tree[seats[0].module]["weight"]
        rows = sum(tree[seat.module]["weight"][0] for seat in seats)
        found[other] = {"weight": (rows, *shape[1:])}
    return found


@pytest.mark.parametrize(
    ("tree", "naming"),
    [
        (FLUX_TREE, FLUX),
        (CHROMA_TREE, FLUX),
        (HUNYUAN_TREE, HUNYUAN_VIDEO),
        (SD3_TREE, SD3),
        (WAN_TREE, WAN),
        (FLUX2_TREE, FLUX2),
        (Z_IMAGE_TREE, Z_IMAGE),
    ],
    ids=["flux", "chroma", "hunyuan-video", "sd3", "wan", "flux2", "z-image"],
)
def test_a_model_in_the_other_naming_takes_files_in_diffusers_naming(tree: Tree, naming: Naming) -> None:
    names = without_slices(naming.aliases(tree))
    outside = native(tree, names)
    back = naming.aliases(outside)
    for other, seats in names.items():
        if len(seats) == 1:
            (seat,) = back[seats[0].module]
            assert seat == Seat(module=other, take=seats[0].take, total=seats[0].total)
            continue
        for index, seat in enumerate(seats):
            assert seat.take is not None
            assert back[seat.module] == back[f"{other}.{index}"] == (Seat(module=other, into=seat.take[0]),)


ALL = [
    (FLUX_TREE, FLUX),
    (FLUX_TREE, FLUX_OMI),
    (CHROMA_TREE, FLUX),
    (HUNYUAN_TREE, HUNYUAN_VIDEO),
    (HUNYUAN_TREE, HUNYUAN_VIDEO_COMFY),
    (HUNYUAN_TREE, FLUX),
    (SD3_TREE, SD3),
    (WAN_TREE, WAN),
    (FLUX2_TREE, FLUX2),
    (FLUX2_TREE, FLUX2_PARTS),
    (FLUX2_TREE, FLUX2_SLICES),
    (Z_IMAGE_TREE, Z_IMAGE),
    (clip(width=8, depth=1), OPEN_CLIP),
]


@pytest.mark.parametrize(("tree", "naming"), ALL)
def test_seats_of_a_fused_weight_take_every_row_just_once(tree: Tree, naming: Naming) -> None:
    for other, seats in naming.aliases(tree).items():
        sizes = [tree[seat.module]["weight"][0] for seat in seats]
        if seats[0].take is not None:
            rows = sorted(row for seat in seats for start, stop in seat.take or () for row in range(start, stop))
            assert rows == list(range(sum(sizes))), other
            assert {seat.total for seat in seats} == {sum(sizes)}
            assert [sum(stop - start for start, stop in seat.take or ()) for seat in seats] == sizes


@pytest.mark.parametrize("parts", [FLUX2_PARTS, FLUX2_SLICES])
def test_parts_of_a_fused_layer_fill_every_row_just_once(parts: Naming) -> None:
    names = parts.aliases(FLUX2_TREE)
    rows = {other: seats[0].into for other, seats in names.items() if other.startswith("single_")}
    assert len(names) == 16 and {seats[0].module for seats in names.values()} <= set(FLUX2_TREE)
    first = [into for other, into in rows.items() if "_blocks.0." in other and "to_qkv_mlp_proj" not in other]
    assert first == [(0, 256), (256, 512), (512, 768), (768, 2304)]


def test_tables_leave_trees_of_others_alone() -> None:
    trees = [FLUX_TREE, SD3_TREE, HUNYUAN_TREE, FLUX2_TREE, WAN_TREE, Z_IMAGE_TREE, clip(width=8, depth=1)]
    known = {id(tree): {id(naming) for of, naming in ALL if of is tree} for tree in trees}
    for tree in trees[:-1]:
        for _, naming in ALL:
            assert bool(naming.aliases(tree)) == (id(naming) in known[id(tree)]) or naming is FLUX_OMI
    assert FLUX_OMI.aliases(HUNYUAN_TREE) == {} and motion_names(FLUX_TREE) == {}


def test_without_shapes_only_whole_modules_are_named() -> None:
    """The rows of a fused weight are not known then; its slices still are."""
    names = FLUX.aliases({module: {} for module in FLUX_TREE})
    assert "double_blocks.0.img_attn.qkv" not in names and "final_layer.adaLN_modulation.1" not in names
    assert names["double_blocks.0.img_attn.qkv.1"] == (Seat(module="transformer_blocks.0.attn.to_k"),)
    assert names["double_blocks.1.img_mod.lin"] == (Seat(module="transformer_blocks.1.norm1.linear"),)


def test_a_layer_that_a_model_lacks_has_no_name() -> None:
    """The last block of SD 3 gives no text on; its modulation has two parts, the others' six."""
    names = SD3.aliases(SD3_TREE)
    assert "joint_blocks.2.context_block.mlp.fc1" not in names
    assert names["joint_blocks.1.context_block.adaLN_modulation.1"][0].take is None
    assert names["joint_blocks.2.context_block.adaLN_modulation.1"][0].take == ((192, 384), (0, 192))
