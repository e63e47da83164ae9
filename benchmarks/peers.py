"""The same adapter files on the same model by diffusers with peft, in turns with ours: time to active, to take off,
and the share of the weights that is not as before afterwards. Ours starts from the files each time, as theirs does.

Needs the development requirements (peft). The model is that of ``stack.py``: the size of SD 1.5, random weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers.utils import logging

from sakuga.lora.stack import Stack
from sakuga.lora.targets import names_of
from sakuga.tensors.names import NameMap
from stack import FILES, Model, _told, read_all, timed


def ours(model: Model, paths: list[Path], names: NameMap) -> tuple[float, float]:
    """Milliseconds to active and off again."""

    def enter() -> object:
        block = Stack([(one, 1.0) for one in read_all(paths, names)]).applied(model.parts)
        block.__enter__()
        return block

    on, block = timed(enter)
    off, _ = timed(lambda: block.__exit__(None, None, None))  # type: ignore[attr-defined]
    return on, off


def theirs(pipeline: StableDiffusionPipeline, paths: list[Path]) -> tuple[float, float]:
    """Milliseconds to active and off again: load each, weigh, fuse; unfuse, unload."""

    def enter() -> None:
        for path in paths:
            pipeline.load_lora_weights(str(path), adapter_name=path.stem)
        pipeline.set_adapters([path.stem for path in paths], [1.0] * len(paths))
        pipeline.fuse_lora()

    def leave() -> None:
        pipeline.unfuse_lora()
        pipeline.unload_lora_weights()

    return timed(enter)[0], timed(leave)[0]


def changed(model: Model, before: list[Tensor]) -> float:
    """The share of numbers that are not bit by bit as they were."""
    weights = dict(_all_weights(model))
    other = sum(int((weights[name] != old).sum()) for name, old in zip(weights, before, strict=True))
    return other / sum(old.numel() for old in before)


def _all_weights(model: Model) -> list[tuple[str, Tensor]]:
    return [(f"{part}.{name}", module.weight.data) for part, name, module in model.targets]


def compare(model: Model, paths: list[Path], names: NameMap, rounds: int) -> None:
    """Print the times of both and their ratio, in turns."""
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=model.parts["text_encoder"],
        tokenizer=None,
        unet=model.parts["unet"],
        scheduler=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pristine = [weight.clone() for weight in model.weights]
    results: dict[str, list[tuple[float, float]]] = {"sakuga": [], "diffusers": []}
    left: dict[str, list[float]] = {"sakuga": [], "diffusers": []}
    for _ in range(rounds):
        for name in results:
            results[name].append(ours(model, paths, names) if name == "sakuga" else theirs(pipeline, paths))
            left[name].append(changed(model, pristine))
            for weight, old in zip(model.weights, pristine, strict=True):
                weight.copy_(old)
    print(f"{len(paths)} files")
    for name, times in results.items():
        on, off = ([one[place] for one in times] for place in (0, 1))
        print(
            f"  {name}: to active {_told(on)} ms, first {on[0]:.0f}; off {_told(off)} ms; "
            f"{100 * max(left[name]):.2f} % of the weights changed afterwards"
        )
    pairs = list(zip(results["diffusers"], results["sakuga"], strict=True))
    print(
        f"  diffusers / sakuga: to active {_told([a[0] / b[0] for a, b in pairs], 1)}, "
        f"off {_told([a[1] / b[1] for a, b in pairs], 0)}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run (default: 3)")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    logging.set_verbosity_error()  # a table of the factors that it makes new for each adapter of the text encoder
    model = Model(torch.float32, whole=True)
    names = names_of(model.parts)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"a{seed}.safetensors" for seed in range(FILES)]
        for seed, path in enumerate(paths):
            model.write(path, seed)
        for count in (1, FILES):
            compare(model, paths[:count], names, options.rounds)


if __name__ == "__main__":
    main()
