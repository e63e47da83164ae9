"""NameMap against diffusers' converters of adapters: the same modules and the same rows for every name they know.

The adapters have rank 1, and every row of an up factor is a number of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as adapters

from sakuga.tensors.names import NameMap
from sakuga.tensors.seat import Seat, Tree
from sakuga.tensors.tables.families import FAMILIES
from sakuga.tensors.tables.families.flux import flux, hunyuan_video
from sakuga.tensors.tables.families.flux2 import flux2
from sakuga.tensors.tables.families.qwen_image import qwen_image
from sakuga.tensors.tables.families.wan import wan
from sakuga.tensors.tables.families.z_image import z_image

TREES: dict[str, Tree] = {
    "flux": flux(double=2, single=2),
    "flux2": flux2(width=256, double=2, single=2, text=64, guidance=True),
    "wan": wan(width=64, inner=96, depth=2, image=32),
    "qwen-image": qwen_image(depth=2),
    "z-image": z_image(depth=2),
    "hunyuan-video": hunyuan_video(double=2, single=2),
}


def adapter(names: Iterable[tuple[str, int]], ends: tuple[str, str], prefix: str) -> dict[str, torch.Tensor]:
    """(name of a module, its rows) → the factors of an adapter for them; rank 1 and alpha 1 give a scale of 1."""
    number = count()
    found = {}
    for name, rows in names:
        found[f"{prefix}{name}.{ends[0]}.weight"] = torch.ones(1, 1)
        found[f"{prefix}{name}.{ends[1]}.weight"] = torch.tensor([[float(next(number))] for _ in range(rows)])
        if ends[0] == "lora_down":
            found[f"{prefix}{name}.alpha"] = torch.tensor(1.0)
    return found


def rows_of(seats: tuple[Seat, ...], tree: Tree) -> int:
    return sum(tree[seat.module]["weight"][0] for seat in seats)


def expected(given: dict[str, torch.Tensor], names: NameMap, prefix: str, find: Callable[[str], Any]) -> dict[str, Any]:
    """Module → the rows of the up factor that fall on it, by the seats of the NameMap."""
    found = {}
    for key, up in given.items():
        if key.endswith(("lora_up.weight", "lora_B.weight")):
            for seat in find(key.removeprefix(prefix).rsplit(".", 2)[0]):
                found[seat.module] = up if seat.take is None else torch.cat([up[a:b] for a, b in seat.take])
    return found


def check(converted: dict[str, Any], wanted: dict[str, Any]) -> None:
    ups = {key: value for key, value in converted.items() if key.endswith("lora_B.weight")}
    found = {key.removeprefix("transformer.").removesuffix(".lora_B.weight"): value for key, value in ups.items()}
    assert set(found) == set(wanted) and wanted
    assert [key for key, up in wanted.items() if not torch.equal(up, found[key])] == []


def outside(names: NameMap, pattern: str) -> list[tuple[str, int]]:
    """Names of the transformer that ``pattern`` matches, of layers that have LoRA factors, with their rows."""
    tree = names.trees["transformer"]
    return [
        (name, rows_of(seats, tree))
        for (_, name), seats in names.dotted.items()
        if re.fullmatch(pattern, name) and len(tree[seats[0].module]["weight"]) > 1
    ]


BFL = r"(double|single)_blocks\.\d+\.(?!norm)((img|txt)_(attn\.(qkv|proj)|mlp\.\d|mod\.lin)|linear[12]|modulation\.lin)"
BFL_ENDS = r"|(img|txt)_in|(time|guidance|vector)_in\.(in|out)_layer|final_layer\..+"
WAN_BLOCK = r"blocks\.\d\.((self|cross)_attn\.\w|ffn\.\d|cross_attn\.[kv]_img)"
WAN_ENDS = r"|(text|time)_embedding\.\d|time_projection\.1|head\.head|img_emb\.proj\.[13]"
HUNYUAN = (
    r"(double|single)_blocks\.\d\.((img|txt)_(attn_(qkv|proj)|mlp\.fc\d|mod\.linear)|linear[12]|modulation\.linear)"
)


@pytest.mark.parametrize(
    ("family", "pattern", "convert"),
    [
        ("flux", BFL + BFL_ENDS, adapters._convert_kohya_flux_lora_to_diffusers),
        (
            "flux2",
            rf"{BFL}|(img|txt)_in|time_in\.(in|out)_layer|final_layer\.linear",
            adapters._convert_kohya_flux2_lora_to_diffusers,
        ),
        ("wan", WAN_BLOCK, adapters._convert_musubi_wan_lora_to_diffusers),
        (
            "qwen-image",
            r"transformer_blocks\..+|(img|txt)_in|proj_out",
            adapters._convert_non_diffusers_qwen_lora_to_diffusers,
        ),
        (
            "z-image",
            r"(layers|noise_refiner|context_refiner)\.\d\.(attention\.to_.+|feed_forward\..+|adaLN_modulation\.0)",
            adapters._convert_non_diffusers_z_image_lora_to_diffusers,
        ),
        (
            "z-image",
            r"(layers|noise_refiner)\.\d\.attention\.(qkv|out)",
            adapters._convert_non_diffusers_z_image_lora_to_diffusers,
        ),
    ],
    ids=["flux", "flux2", "wan", "qwen-image", "z-image", "z-image fused"],
)
def test_underscore_names(family: str, pattern: str, convert: Callable[..., Any]) -> None:
    names = NameMap.of({"transformer": TREES[family]})
    flat = [(name.replace(".", "_"), rows) for name, rows in outside(names, pattern)]
    given = adapter(flat, ("lora_down", "lora_up"), "lora_unet_")
    wanted = expected(given, names, "", names.find)
    if "qkv" in pattern and family == "z-image":  # the converter reads these only in its third spelling
        given = {re.sub(r"lora_(down|up)", r"lora.\1", key): value for key, value in given.items()}
    check(convert(dict(given)), wanted)


@pytest.mark.parametrize(
    ("family", "pattern", "convert"),
    [
        ("wan", WAN_BLOCK + WAN_ENDS, adapters._convert_non_diffusers_wan_lora_to_diffusers),
        (
            "flux2",
            rf"{BFL}|(img|txt)_in|(time|guidance)_in\.(in|out)_layer|final_layer\.linear|\w+_modulation(_\w+)?\.lin",
            adapters._convert_non_diffusers_flux2_lora_to_diffusers,
        ),
        ("hunyuan-video", HUNYUAN, adapters._convert_hunyuan_video_lora_to_diffusers),
    ],
    ids=["wan", "flux2", "hunyuan-video"],
)
def test_dotted_names(family: str, pattern: str, convert: Callable[..., Any]) -> None:
    names = NameMap.of({"transformer": TREES[family]})
    given = adapter(outside(names, pattern), ("lora_A", "lora_B"), "diffusion_model.")
    wanted = expected(given, names, "diffusion_model.", lambda name: names.find_dotted("transformer", name))
    check(convert(dict(given)), wanted)


def test_sdxl_in_the_naming_of_its_makers() -> None:
    trees = next(table for table in FAMILIES if table.name == "sdxl").trees()
    names = NameMap.of(trees)
    own = trees["unet"]
    flat = {
        name.replace(".", "_"): seats[0].module
        for (component, name), seats in names.dotted.items()
        if component == "unet" and name not in own and len(own[seats[0].module]["weight"]) > 1
    }
    factors = {
        f"lora_unet_{name}.lora_{end}.weight": torch.tensor([[float(number)]])
        for number, name in enumerate(flat)
        for end in ("down", "up")
    }
    config = type("Config", (), {"layers_per_block": 2})()
    converted, _ = adapters._convert_non_diffusers_lora_to_diffusers(
        adapters._maybe_map_sgm_blocks_to_diffusers(factors, config)
    )
    plain = {
        re.sub(r"^unet\.|\.processor|[._]lora\.down\.weight$", "", key): int(value.item())
        for key, value in converted.items()
        if ".down." in key
    }
    found = {re.sub(r"(attn\d\.to_out)$", r"\1.0", key): number for key, number in plain.items()}
    assert found == {module: number for number, module in enumerate(flat.values())}
    assert len(found) > 700 and all(names.find(f"lora_unet_{name}")[0].module == flat[name] for name in flat)
