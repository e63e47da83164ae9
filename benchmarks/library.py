"""How long the library of adapters takes to index many files, and to look again when nothing has changed.

The files are sparse: real headers as trainers write them (SD 1.5 and SDXL, several ranks and number formats, LoRA, LoHa
and LoKr, tables of tags), and holes in the place of the weights. Beside the seconds of the clock it tells those of the
processor, which other work on the machine does not lengthen, and how many of the headers list different tensors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BYTES = {"F16": 2, "BF16": 2, "F32": 4}
RANKS = (4, 8, 16, 24, 32, 48, 64, 96, 128)
ATTENTION = ("to_q", "to_k", "to_v", "to_out_0")
TEXT = ("mlp_fc1", "mlp_fc2", "self_attn_k_proj", "self_attn_out_proj", "self_attn_q_proj", "self_attn_v_proj")
SD15 = (("down_blocks_0", 2, 1, 320), ("down_blocks_1", 2, 1, 640), ("down_blocks_2", 2, 1, 1280))
SD15 += (("mid_block", 1, 1, 1280), ("up_blocks_1", 3, 1, 1280), ("up_blocks_2", 3, 1, 640), ("up_blocks_3", 3, 1, 320))
SDXL = (("down_blocks_1", 2, 2, 640), ("down_blocks_2", 2, 10, 1280), ("mid_block", 1, 10, 1280))
SDXL += (("up_blocks_0", 3, 10, 1280), ("up_blocks_1", 3, 2, 640))

Modules = list[tuple[str, int, int]]  # name, features in, features out
Tensors = dict[str, tuple[str, list[int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--sdxl", type=float, default=0.2, help="which share of them is for SDXL (default: 0.2)")
    parser.add_argument("--all-different", action="store_true", help="let no two files list the same tensors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listings = make_files(folder / "loras", options.files, options.sdxl, options.all_different)
        print(f"{options.files} files, {listings} different lists of tensors, {options.sdxl:.0%} for SDXL")
        floor(folder / "loras")
        environment = os.environ | {
            "SAKUGA_CACHE": name,
            "SAKUGA_MODELS": str(folder / "loras"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "sakuga", "lora", "list"]
        for label in ("index, a fresh process", "again", "again", "again"):
            timed(label, lambda: subprocess.run(command, env=environment, check=True, capture_output=True))
        again(folder)


def timed(label: str, work: Callable[[], object]) -> None:
    """Do it, and print how long it took, by the clock and by the processor (its child processes too)."""
    before, clock = os.times(), time.perf_counter()
    work()
    after, seconds = os.times(), time.perf_counter() - clock
    processor = sum(after[:4]) - sum(before[:4])
    print(f"{label:40}{seconds:8.2f} s by the clock{processor:8.2f} s of the processor")


def floor(folder: Path) -> None:
    """What no index can avoid: open every file, read its header, and have Python's own JSON read that."""

    def read() -> None:
        for path in folder.rglob("*.safetensors"):
            with path.open("rb") as stream:
                json.loads(stream.read(int.from_bytes(stream.read(8), "little")))

    timed("floor: read and parse every header", read)


def again(folder: Path) -> None:
    """The same question inside a process that runs already."""
    from sakuga.lora.library.folders import scan
    from sakuga.lora.library.index import FILE_NAME, open_index

    def ask() -> None:
        with open_index(folder / FILE_NAME) as index:
            rows, stale = index.rows(scan([folder / "loras"]))
        assert rows
        assert not stale

    timed("again, inside a running process", ask)


def make_files(folder: Path, count: int, sdxl: float, all_different: bool) -> int:
    """Write ``count`` sparse files in folders of 200; how many different lists of tensors they have."""
    draw = random.Random(0)
    made: dict[tuple[object, ...], tuple[str, int]] = {}
    for number in range(count):
        big = draw.random() < sdxl
        kind = draw.choices(("lora", "loha", "lokr"), (16, 2, 2))[0]
        setting = (big, kind, draw.choice(RANKS), draw.choice(("F16", "F16", "BF16", "F32")), draw.random() < 0.7)
        own = (*setting, number if all_different else None)
        if own not in made:
            made[own] = listed(dict(tensors(*setting, spread=number if all_different else 0)))
        text, size_bytes = made[own]
        inner = folder / f"set {number // 200}"
        inner.mkdir(parents=True, exist_ok=True)
        head = '{"__metadata__":' + json.dumps(metadata(number, big, draw)) + ("," + text[1:])
        raw = head.encode()
        raw += b" " * (-len(raw) % 8)
        path = inner / f"style {number}.safetensors"
        with path.open("wb") as stream:
            stream.write(len(raw).to_bytes(8, "little") + raw)
            stream.truncate(8 + len(raw) + size_bytes)
        if number % 5 == 0:
            path.with_suffix(".civitai.info").write_text(json.dumps({"trainedWords": [f"word{number}"], "id": number}))
    return len(made)


def listed(all_tensors: Tensors) -> tuple[str, int]:
    """The header's list of the tensors as safetensors writes it, and the bytes of them all."""
    entries, at = {}, 0
    for name, (dtype, shape) in sorted(all_tensors.items()):
        end = at + BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    return json.dumps(entries, separators=(",", ":")), at


def tensors(
    big: bool, kind: str, rank: int, dtype: str, text: bool, *, spread: int
) -> Iterator[tuple[str, tuple[str, list[int]]]]:
    """(name, (format, shape)) of an adapter. ``spread`` makes the rank of one module in a thousand another one."""
    for number, (name, width, out) in enumerate(modules(big, text)):
        own = rank + (spread >> number & 1 if spread else 0)
        yield f"{name}.alpha", (dtype, [])
        if kind == "lora":
            yield f"{name}.lora_down.weight", (dtype, [own, width])
            yield f"{name}.lora_up.weight", (dtype, [out, own])
        elif kind == "loha":
            for half in ("w1", "w2"):
                yield f"{name}.hada_{half}_a", (dtype, [out, own])
                yield f"{name}.hada_{half}_b", (dtype, [own, width])
        else:
            yield f"{name}.lokr_w1", (dtype, [8, 8])
            yield f"{name}.lokr_w2_a", (dtype, [out // 8, own])
            yield f"{name}.lokr_w2_b", (dtype, [own, width // 8])


def modules(big: bool, text: bool) -> Modules:
    """The modules of attention of a UNet, and of the text encoders if asked for."""
    context = 2048 if big else 768
    found: Modules = []
    for block, attentions, depth, width in SDXL if big else SD15:
        for attention in range(attentions):
            whole = f"lora_unet_{block}_attentions_{attention}"
            found += [(f"{whole}_proj_in", width, width), (f"{whole}_proj_out", width, width)]
            for inner in range(depth):
                stem = f"{whole}_transformer_blocks_{inner}"
                found += [(f"{stem}_attn1_{leaf}", width, width) for leaf in ATTENTION]
                found += [
                    (f"{stem}_attn2_{leaf}", context if leaf in ("to_k", "to_v") else width, width)
                    for leaf in ATTENTION
                ]
                found += [(f"{stem}_ff_net_0_proj", width, 8 * width), (f"{stem}_ff_net_2", 4 * width, width)]
    for prefix, layers, width in (("lora_te1", 12, 768), ("lora_te2", 32, 1280)) if big else (("lora_te", 12, 768),):
        for layer in range(layers if text else 0):
            stem = f"{prefix}_text_model_encoder_layers_{layer}"
            found += [(f"{stem}_{leaf}", width, width) for leaf in TEXT]
    return found


def metadata(number: int, big: bool, draw: random.Random) -> dict[str, str]:
    """As kohya's trainer writes it, with a table of 60 to 300 tags."""
    tags = {f"tag {draw.randrange(5000)}": draw.randrange(1, 400) for _ in range(draw.randrange(60, 300))}
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": "32",
        "ss_network_alpha": "16.0",
        "ss_base_model_version": "sdxl_base_v1-0" if big else "sd_v1",
        "ss_output_name": f"style_{number}",
        "ss_tag_frequency": json.dumps({f"10_style {number}": tags}),
        "sshs_model_hash": f"{number:064x}",
    }


if __name__ == "__main__":
    main()
