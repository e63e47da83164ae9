"""SD 1.5 at its full size, random: a checkpoint, a ControlNet and a motion module as people have them, two frames.

The layouts are written down here once more, by hand and apart from the tables of the package: 1131 tensors in the
checkpoint (859.5 million parameters in its UNet), 340 in the ControlNet, 588 in the motion module.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.whole.random_model import Case, embedding

import sakuga
from sakuga.models.detect import recognise
from sakuga.models.device import resolve
from sakuga.models.library import Library
from sakuga.models.load import load_base, load_control, load_motion
from sakuga.spec.job import Stage
from sakuga.video.pictures import read_picture

Layout = dict[str, tuple[int, ...]]
WIDTHS = (320, 640, 1280, 1280)
TIME, WORDS, CONTEXT = 1280, 49408, 768
HINT = (3, 16, 16, 32, 32, 96, 96, 256, 320)
SKIPS = (320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280)
POOL = 1 << 22  # random numbers, of which every weight is a stretch
SOURCE = Path(sakuga.__file__).parents[1]


def layer(name: str, *shape: int, bias: bool = True) -> Layout:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def under(prefix: str, *parts: Layout) -> Layout:
    return {prefix + name: shape for part in parts for name, shape in part.items()}


def resnet(name: str, before: int, after: int) -> Layout:
    return under(
        f"{name}.",
        layer("in_layers.0", before), layer("in_layers.2", after, before, 3, 3), layer("emb_layers.1", after, TIME),
        layer("out_layers.0", after), layer("out_layers.3", after, after, 3, 3),
        layer("skip_connection", after, before, 1, 1) if before != after else {},
    )  # fmt: skip


def looking(name: str, width: int, context: int) -> Layout:
    """An attention of ``width`` to words of ``context`` channels."""
    keys = [layer(f"{name}.{key}", width, context, bias=False) for key in ("to_k", "to_v")]
    return under("", layer(f"{name}.to_q", width, width, bias=False), *keys, layer(f"{name}.to_out.0", width, width))


def attention(name: str, width: int) -> Layout:
    block = under(
        "transformer_blocks.0.",
        looking("attn1", width, width), looking("attn2", width, CONTEXT),
        layer("ff.net.0.proj", 8 * width, width), layer("ff.net.2", width, 4 * width),
        *(layer(f"norm{number}", width) for number in (1, 2, 3)),
    )  # fmt: skip
    ends = [layer(end, width, width, 1, 1) for end in ("proj_in", "proj_out")]
    return under(f"{name}.", layer("norm", width), block, *ends)


def encoder() -> Layout:
    """What a UNet and a ControlNet have in common."""
    parts = [
        layer("time_embed.0", TIME, 320),
        layer("time_embed.2", TIME, TIME),
        layer("input_blocks.0.0", 320, 4, 3, 3),
    ]
    before = 320
    for level, width in enumerate(WIDTHS):
        for number in (3 * level + 1, 3 * level + 2):
            parts.append(resnet(f"input_blocks.{number}.0", before, width))
            parts.append(attention(f"input_blocks.{number}.1", width) if level < 3 else {})
            before = width
        parts.append(layer(f"input_blocks.{3 * level + 3}.0.op", width, width, 3, 3) if level < 3 else {})
    middle = [resnet("0", 1280, 1280), attention("1", 1280), resnet("2", 1280, 1280)]
    return under("", *parts, under("middle_block.", *middle))


def unet() -> Layout:
    parts, skips, before = [encoder()], list(SKIPS), 1280
    for level, width in enumerate(reversed(WIDTHS)):
        for number in range(3 * level, 3 * level + 3):
            parts.append(resnet(f"output_blocks.{number}.0", before + skips.pop(), width))
            parts.append(attention(f"output_blocks.{number}.1", width) if level else {})
            before = width
        parts.append(
            layer(f"output_blocks.{3 * level + 2}.{2 if level else 1}.conv", width, width, 3, 3) if level < 3 else {}
        )
    return under("", *parts, layer("out.0", 320), layer("out.2", 4, 320, 3, 3))


def vae_block(name: str, before: int, after: int) -> Layout:
    return under(
        f"{name}.",
        layer("norm1", before), layer("conv1", after, before, 3, 3), layer("norm2", after),
        layer("conv2", after, after, 3, 3), layer("nin_shortcut", after, before, 1, 1) if before != after else {},
    )  # fmt: skip


def vae_side(name: str, ends: tuple[tuple[int, int], tuple[int, int]], blocks: Iterator[Layout], inner: int) -> Layout:
    look = [layer(f"attn_1.{key}", 512, 512, 1, 1) for key in ("q", "k", "v", "proj_out")]
    middle = under(
        "mid.", vae_block("block_1", 512, 512), layer("attn_1.norm", 512), *look, vae_block("block_2", 512, 512)
    )
    outer = [layer("conv_in", *ends[0], 3, 3), layer("norm_out", inner), layer("conv_out", *ends[1], 3, 3)]
    return under(f"{name}.", *outer, middle, *blocks)


def vae() -> Layout:
    widths = (128, 256, 512, 512)

    def down() -> Iterator[Layout]:
        for level, (before, after) in enumerate(zip((128, *widths), widths, strict=False)):
            yield from (vae_block(f"down.{level}.block.{i}", after if i else before, after) for i in range(2))
            yield layer(f"down.{level}.downsample.conv", after, after, 3, 3) if level < 3 else {}

    def up() -> Iterator[Layout]:
        for level, (before, after) in enumerate(zip((*widths[1:], 512), widths, strict=True)):
            yield from (vae_block(f"up.{level}.block.{i}", after if i else before, after) for i in range(3))
            yield layer(f"up.{level}.upsample.conv", after, after, 3, 3) if level else {}

    small = [layer("quant_conv", 8, 8, 1, 1), layer("post_quant_conv", 4, 4, 1, 1)]
    sides = vae_side("encoder", ((128, 3), (8, 512)), down(), 512), vae_side("decoder", ((512, 4), (3, 128)), up(), 128)
    return under("", *sides, *small)


def text() -> Layout:
    tables = {"token_embedding.weight": (WORDS, 768), "position_embedding.weight": (77, 768), "position_ids": (1, 77)}
    layers = []
    for number in range(12):
        own = [layer(f"self_attn.{key}_proj", 768, 768) for key in "qkv"] + [layer("self_attn.out_proj", 768, 768)]
        rest = [
            layer("mlp.fc1", 3072, 768),
            layer("mlp.fc2", 768, 3072),
            layer("layer_norm1", 768),
            layer("layer_norm2", 768),
        ]
        layers.append(under(f"encoder.layers.{number}.", *own, *rest))
    return under("text_model.", under("embeddings.", tables), *layers, layer("final_layer_norm", 768))


def checkpoint() -> Layout:
    words = under("cond_stage_model.transformer.", text())
    return under("", under("model.diffusion_model.", unet()), under("first_stage_model.", vae()), words)


def control() -> Layout:
    pairs = itertools.pairwise(HINT)
    hint = [layer(f"input_hint_block.{2 * i}", after, before, 3, 3) for i, (before, after) in enumerate(pairs)]
    zeros = [layer(f"zero_convs.{i}.0", width, width, 1, 1) for i, width in enumerate(SKIPS)]
    return under("control_model.", encoder(), *hint, *zeros, layer("middle_block_out.0", 1280, 1280, 1, 1))


def motion() -> Layout:
    """Version 2: with a module in the middle, and encodings for 32 frames."""
    down = {f"down_blocks.{b}.motion_modules.{i}": width for b, width in enumerate(WIDTHS) for i in range(2)}
    up = {f"up_blocks.{b}.motion_modules.{i}": width for b, width in enumerate(reversed(WIDTHS)) for i in range(3)}
    found: Layout = {}
    for place, width in (down | {"mid_block.motion_modules.0": 1280} | up).items():
        along = [looking(f"attention_blocks.{i}", width, width) for i in (0, 1)]
        clocks = {f"attention_blocks.{i}.pos_encoder.pe": (1, 32, width) for i in (0, 1)}
        norms = [layer(f"norms.{i}", width) for i in (0, 1)] + [layer("ff_norm", width)]
        ff = [layer("ff.net.0.proj", 8 * width, width), layer("ff.net.2", width, 4 * width)]
        block = under("transformer_blocks.0.", *along, clocks, *norms, *ff)
        ends = [layer("norm", width), layer("proj_in", width, width), layer("proj_out", width, width)]
        found |= under(f"{place}.temporal_transformer.", *ends, block)
    return found


def weights(layout: Layout, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Random weights that keep numbers of the size they had: ones for norms, small biases, 1/√fan_in for the rest."""
    pool = np.random.default_rng(seed).standard_normal(POOL, dtype=np.float32)
    for number, (name, shape) in enumerate(layout.items()):
        if name.endswith("position_ids"):
            yield name, np.arange(77, dtype=np.int64).reshape(shape)
            continue
        drawn = np.resize(np.roll(pool, 7919 * number), shape)
        if len(shape) == 1:
            yield name, ((1 if name.endswith("weight") else 0) + 0.02 * drawn).astype(np.float16)
        else:
            yield name, (0.7 * drawn / math.sqrt(math.prod(shape[1:]))).astype(np.float16)


def save_safetensors(path: Path, layout: Layout, seed: int) -> None:
    """Written as it is made, so that the file is never in memory."""
    header, end = {}, 0
    for name, shape in layout.items():
        kind, size = ("I64", 8) if name.endswith("position_ids") else ("F16", 2)
        begin, end = end, end + size * math.prod(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for _, tensor in weights(layout, seed):
            file.write(tensor.tobytes())


def save_pickle(path: Path, layout: Layout, seed: int) -> None:
    torch.save({name: torch.from_numpy(tensor) for name, tensor in weights(layout, seed)}, path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    folder = tmp_path_factory.mktemp("full size")
    paths = {"base": "sd15.safetensors", "control": "control_v11.pth", "motion": "mm_v2.ckpt"}
    found = {name: folder / file for name, file in paths.items()}
    save_safetensors(found["base"], checkpoint(), seed=1)
    save_pickle(found["control"], control(), seed=2)
    save_pickle(found["motion"], motion(), seed=3)
    yield found
    for path in found.values():  # nearly 4 GB, which pytest would keep for three more runs
        path.unlink()


def test_the_layouts_have_the_sizes_that_are_known() -> None:
    sizes = {
        name: (
            len(made),
            round(sum(math.prod(shape) for key, shape in made.items() if "pos_encoder" not in key) / 1e6, 1),
        )
        for name, made in (("unet", unet()), ("vae", vae()), ("control", control()), ("motion", motion()))
    }
    assert sizes == {"unet": (686, 859.5), "vae": (248, 83.7), "control": (340, 361.3), "motion": (588, 453.2)}
    assert len(checkpoint()) == 1131


@pytest.mark.slow
def test_files_of_full_size_are_recognised(files: Mapping[str, Path]) -> None:
    told = {name: recognise(path) for name, path in files.items()}
    assert {name: (known.role, known.layout, known.family) for name, known in told.items()} == {
        "base": ("checkpoint", "ldm", "sd15"),
        "control": ("control", "ldm", "sd15"),
        "motion": ("motion", "animatediff", "sd15"),
    }


@pytest.mark.slow
def test_two_frames_are_rendered_at_full_size(files: Mapping[str, Path], made: Any, tmp_path: Path) -> None:
    source, output = made.pictures(2, size=(256, 256)), tmp_path / "toons"
    search = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    words = ["render", str(source), "--base", str(files["base"]), "--motion", str(files["motion"]), "--steps", "2"]
    words += ["--set", f"stages.0.controls=[{{kind: tile, file: {files['control']}}}]", "--device", "cpu"]
    run = subprocess.run(  # a process of its own, so that the memory told is that of the render alone
        [sys.executable, "-m", "sakuga", *words, "--prompt", "ink", "-o", str(output), "--json"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": search}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    report = json.loads(run.stdout)
    used = {model["role"]: (model["used"], len(model["left_out"])) for model in report["models"]}
    assert used == {"base": (1130, 1), "control tile": (340, 0), "motion": (588, 0)}
    frames = np.stack([read_picture(path) for path in sorted(output.iterdir())])
    assert frames.shape == (2, 256, 256, 3) and frames.std() > 1
    print(f"peak {report['memory']['peak'] / 2**30:.1f} GiB, seconds {report['seconds']}, stage {report['stages'][0]}")


@pytest.mark.slow
def test_every_step_is_that_of_the_reference_at_full_size(files: Mapping[str, Path]) -> None:
    """17 frames in windows of 16 by 8, two steps, 128 x 128: all three files as their loaders read them, in float32."""
    library, where = Library(folders=()), resolve("cpu", "fp32")
    base = load_base(files["base"], library, where)
    net = load_control(files["control"], "tile", base, library, where).part
    moving = load_motion(files["motion"], base, library, where).part
    case = Case(bundle=base, nets=[net], motion=moving, embedding=embedding(), size=(128, 128))
    stage = Stage(
        prompt="ink, a girl is dancing", negative_prompt="photograph", motion="own", controls=["tile:0.5"], steps=2,
        guidance=7.0, noise="diffsynth1", prompt_style="plain", clip_skip=2, sampler="ddim", frames_at_once=4,
    )  # fmt: skip
    (ours, drawn), (theirs, expected) = case.ours(stage, 17), case.theirs(stage, 17)
    apart = [
        float((a - b).abs().max() / b.abs().max()) for a, b in zip((*ours, drawn), (*theirs, expected), strict=True)
    ]
    print(f"apart {apart}")
    assert max(apart) <= 1e-4
