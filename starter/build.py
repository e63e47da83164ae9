"""Makes the starter bundle again from packages: data, codec, base and controls, adapters, finish, motion, export.

Run it from a checkout with the development set-up: ``python starter/build.py --work build/starter``. Every stage saves,
resumes after a kill and can be named alone; more samples continue a stage that is done. Seeds and inputs are fixed, but
sums on several threads are not, so two runs give two bundles that look alike. No test runs it, no wheel holds it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import adapters
import base
import codec
import data
import demo_clip
import export
import motion
import pairs
from loop import Plan

LOOKS = ("photo", "paint", "line", "comic", "ink")
LORAS = {"celcomic": "comic", "ink": "ink"}
WORD, WORD_LOOK = "flatpaint", "paint"
TARGET = Path(__file__).parents[1] / "src" / "sakuga" / "starter"


def main() -> None:
    """Run the stages that were named, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="where everything is kept")
    parser.add_argument("--target", type=Path, default=TARGET, help="where the bundle goes")
    parser.add_argument("--stage", action="append", choices=list(STAGES), help="only this one; may be given again")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.stage or STAGES:
        print(f"== {name}", flush=True)
        STAGES[name](options.work, options.target)


def make_data(work: Path, _target: Path) -> None:
    """Fetch the packages, draw every picture in every look."""
    data.draw(data.fetch(work), work)


def make_codec(work: Path, _target: Path) -> None:
    """Train the codec on film frames, photographed and drawn."""
    import numpy as np

    paths = sorted((work / "pictures").glob("film*.npz"))[::2]
    codec.fit(work, [np.load(path)[look] for path in paths for look in ("photo", "comic", "line")], samples=3200)


def make_base(work: Path, _target: Path) -> None:
    """Fit the condition embeddings, then train UNet, text encoder and both ControlNets together."""
    loaded = pairs.load(work / "pictures", work, LOOKS)
    model = base.build()
    base.fit_embeddings(model, pairs.Sampler(loaded, {"photo": 1.0}, seed=21), work, samples=11_200)
    plan = Plan(name="base", folder=work, samples=10_400, batch=16, rate=6e-4)
    base.fit(model, pairs.Sampler(loaded, base.SHARES, seed=22), plan)
    for name, part in model.parts().items():
        torch.save(part.state_dict(), work / f"base.{name}.pt")


def make_adapters(work: Path, _target: Path) -> None:
    """Train the LoRAs and the textual inversion on the frozen base."""
    loaded = pairs.load(work / "pictures", work, LOOKS)
    for name, look in LORAS.items():
        draw = pairs.Sampler(loaded, {"photo": 1.0}, seed=31, style=look, captions=("photo", "paint", "line"))
        plan = Plan(name=f"lora-{name}", folder=work, samples=6_400, batch=8, rate=1.5e-3)
        branches = adapters.fit(load_base(work), draw, plan)
        adapters.save(branches, work / "loras" / f"{name}.safetensors", export.LORA_METADATA | {"ss_output_name": name})
    draw = pairs.Sampler(loaded, {"photo": 1.0}, seed=41, style=WORD_LOOK)
    plan = Plan(name=f"word-{WORD}", folder=work, samples=1_200, batch=8, rate=2e-2, average=0.95)
    adapters.save_word(adapters.fit_word(load_base(work), draw, plan), work / "embeddings" / f"{WORD}.safetensors")


def make_finish(work: Path, _target: Path) -> None:
    """Go on with ``celcomic`` by its decoded picture, and teach the decoder what the model's own latents look like."""
    name, look = "celcomic", LORAS["celcomic"]
    loaded = pairs.load(work / "pictures", work, LOOKS, pixels=("photo", look))
    file = work / "loras" / f"{name}.safetensors"
    draw = pairs.Sampler(loaded, {"photo": 1.0}, seed=32, style=look, captions=("photo", "paint", "line"))
    plan = Plan(name=f"pixels-{name}", folder=work, samples=10_400, batch=8, rate=1e-3)
    shown = codec.load(work).to(memory_format=torch.channels_last)
    branches = adapters.fit(load_base(work), draw, plan, start=file, vae=shown)
    adapters.save(branches, file, export.LORA_METADATA | {"ss_output_name": name})

    model = load_base(work)
    branches = adapters.attach_file(model, file)
    for part in model.parts().values():
        part.requires_grad_(False).eval().to(memory_format=torch.channels_last)
    draws = [
        pairs.Sampler(loaded, {"photo": 1.0}, seed=seed, style=style, captions=("photo", "paint", "line"))
        for seed, style in ((51, None), (52, look), (53, look))
    ]
    turns = itertools.cycle(range(len(draws)))

    def draw_any(count: int) -> pairs.Batch:
        turn = next(turns)
        for branch in branches.values():
            branch.scale = float(turn > 0)
        return draws[turn](count)

    vae = codec.load(work)
    plan = Plan(name="settle", folder=work, samples=15_600, batch=8, rate=1.5e-4)
    codec.settle(vae, draw_any, lambda batch: base.one_step(model, batch), plan)
    codec.save(vae, work)


def make_motion(work: Path, _target: Path) -> None:
    """Train the motion module inside the base, with ``celcomic`` at work."""
    model = load_base(work)
    branches = adapters.attach_file(model, work / "loras" / "celcomic.safetensors")
    runs = motion.load_runs(work / "sequences", work, "comic")
    plan = Plan(name="motion", folder=work, samples=420, batch=1, rate=3e-4)
    torch.save(motion.fit(model, branches, runs, plan).state_dict(), work / "motion.pt")


def make_export(work: Path, target: Path) -> None:
    """Write the bundle: folders, LoRAs, motion module, embedding and demo clip."""
    export.bundle(load_base(work), codec.load(work), target)
    export.motion(torch.load(work / "motion.pt", weights_only=True), target)
    export.copy(work / "loras", target / "loras")
    export.copy(work / "embeddings", target / "embeddings")
    demo_clip.make(work / "packages", target / "demo.mp4")
    print(f"{export.check_sizes(target) / 1e6:.1f} MB in {target}")


def load_base(work: Path) -> base.Model:
    """The trained base in fp32."""
    model = base.build()
    for name, part in model.parts().items():
        part.load_state_dict(torch.load(work / f"base.{name}.pt", weights_only=True))
    return model


STAGES: dict[str, Callable[[Path, Path], None]] = {
    "data": make_data,
    "codec": make_codec,
    "base": make_base,
    "adapters": make_adapters,
    "finish": make_finish,
    "motion": make_motion,
    "export": make_export,
}

if __name__ == "__main__":
    main()
