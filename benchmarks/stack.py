"""What adapters cost on a model of the size of SD 1.5 (random weights), against what the machine itself must spend.

The floor is measured in the same run and in turns with the work: reading the file, and the longer of the products
(GEMM) and of writing the changed weights into memory that is newly taken. That is what a machine could do whose cores
multiply while they take memory; the sum is what these can do, which must do one after the other. The plain loop is
what anybody would write by hand: factors that are in memory already, one ``addmm`` for each weight, no check, nothing
that could be taken off. ``--step`` also times whole UNet steps with 1, 2, 4 and 8 live adapters, in turns with none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from sakuga.lora.adapter import Adapter
from sakuga.lora.cache import Cache
from sakuga.lora.read import read_adapter
from sakuga.lora.stack import Stack, StackWeight
from sakuga.lora.targets import names_of
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

UNET_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
RANK, FILES = 32, 8
OFF = StackWeight(unet=0.0, text_encoder=0.0)


class Model:
    """The layers that LoRA files of kohya's trainer change, with real memory; everything else only in name."""

    def __init__(self, dtype: torch.dtype, *, whole: bool) -> None:
        with torch.device("meta"):
            unet = UNet2DConditionModel(cross_attention_dim=768)
            text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
        self.parts: dict[str, nn.Module] = {"unet": unet.eval(), "text_encoder": text.eval()}
        self.targets = [
            (component, name, module)
            for component, part in self.parts.items()
            for name, module in part.named_modules()
            if name.endswith(UNET_LAYERS if component == "unet" else TEXT_LAYERS) and hasattr(module, "weight")
            if component == "text_encoder" or "attentions" in name
        ]
        dice = torch.Generator().manual_seed(0)
        for part in self.parts.values() if whole else ():
            for own in part.to_empty(device="cpu").to(dtype).parameters():
                nn.init.normal_(own, std=0.02, generator=dice)
        for _, _, module in self.targets:
            numbers = torch.randn(module.weight.shape, generator=dice) * 0.02
            module.weight = nn.Parameter(numbers.to(dtype), requires_grad=False)

    @property
    def weights(self) -> list[Tensor]:
        return [module.weight.data for _, _, module in self.targets]

    def write(self, path: Path, seed: int) -> None:
        """One adapter file in kohya's layout, fp16, without any library: header, then the numbers."""
        dice = torch.Generator().manual_seed(seed)
        tensors: dict[str, Tensor] = {}
        for component, name, module in self.targets:
            out, features, *kernel = module.weight.shape
            stem = ("lora_unet_" if component == "unet" else "lora_te_") + name.replace(".", "_")
            down = torch.randn(RANK, features, *kernel, generator=dice) / features**0.5
            tensors[f"{stem}.lora_down.weight"] = down.half()
            tensors[f"{stem}.lora_up.weight"] = (
                torch.randn(out, RANK, *[1] * len(kernel), generator=dice) * 0.02
            ).half()
            tensors[f"{stem}.alpha"] = torch.tensor(RANK / 2).half()
        header, at = {}, 0
        for key, tensor in tensors.items():
            header[key] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [at, at + tensor.nbytes]}
            at += tensor.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()  # as the library writes it
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                file.write(tensor.numpy().tobytes())


def timed(work: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return (time.perf_counter() - started) * 1e3, result


def floor(model: Model, paths: list[Path]) -> dict[str, float]:
    """Milliseconds that nobody can do without: reading, the products at the best rate, writing into new memory."""
    read = 0.0
    for path in paths:
        buffer = bytearray(path.stat().st_size)
        with path.open("rb", buffering=0) as file:
            read += min(
                timed(lambda file=file, buffer=buffer: (file.seek(0), file.readinto(buffer)))[0] for _ in range(3)
            )
    square = torch.randn(2048, 2048)
    rate = 2 * 2048**3 / min(timed(lambda: torch.mm(square, square))[0] for _ in range(5))
    products = sum(2 * weight.numel() * RANK * len(paths) for weight in model.weights) / rate
    write, _ = timed(lambda: [torch.empty_like(weight).copy_(weight) for weight in model.weights])
    longest, total = read + max(products, write), read + products + write
    return {"read": read, "products": products, "write": write, "floor": longest, "sum": total}


def plain_loop(model: Model, files: int) -> float:
    """Milliseconds of the changed weights by one ``addmm`` each, from fp32 factors side by side, into new memory."""
    factors = [
        (torch.randn(len(weight), RANK * files), torch.randn(RANK * files, weight[0].numel()))
        for weight in model.weights
    ]

    def loop() -> list[Tensor]:
        return [
            torch.addmm(weight.flatten(1).float(), up, down).to(weight.dtype).view_as(weight)
            for weight, (up, down) in zip(model.weights, factors, strict=True)
        ]

    return timed(loop)[0]


def read_all(paths: list[Path], names: NameMap) -> list[Adapter]:
    found = []
    for path in paths:
        with TensorFile.open(path) as file:
            found.append(read_adapter(file, names, path.stem))
    return found


class Peak:
    """The most memory that the process held beyond what it held before."""

    def __enter__(self) -> Peak:
        self.start, self.most, self._going = _resident(), 0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._going:
            self.most = max(self.most, _resident() - self.start)
            time.sleep(0.002)

    def __exit__(self, *_words: object) -> None:
        self._going = False
        self._thread.join()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def load_and_fuse(model: Model, paths: list[Path], names: NameMap, rounds: int) -> None:
    """Files to active, fused weights, and back, in turns with the floor."""
    ratios, of_sum, of_loop, spent, left, floors = [], [], [], [], [], []
    for _ in range(rounds):
        below = floor(model, paths)
        loop = plain_loop(model, len(paths))

        def enter() -> object:
            block = Stack([(one, 1.0) for one in read_all(paths, names)]).applied(model.parts)
            block.__enter__()
            return block

        work, block = timed(enter)
        back, _ = timed(lambda block=block: block.__exit__(None, None, None))
        ratios.append(work / below["floor"])
        of_sum.append(work / below["sum"])
        of_loop.append(work / loop)
        spent.append(work)
        left.append(back)
        floors.append(below)
    middle = {name: statistics.median(one[name] for one in floors) for name in floors[0]}
    print(f"{len(paths)} files: floor {_told(middle)}")
    print(f"  to active {_told(spent)} ms, first {spent[0]:.0f}; off {_told(left)} ms")
    print(f"  x floor {_told(ratios, 2)}, x sum {_told(of_sum, 2)}, x plain loop {_told(of_loop, 2)}")


def switches(model: Model, adapters: list[Adapter], rounds: int) -> None:
    """What is a pointer swap: taking off what a cache keeps, and A against B; and one weight of a live stack."""
    room = 3 * sum(weight.nbytes for weight in model.weights)
    cache, on = Cache(host_bytes=room), StackWeight()
    blocks = [Stack([(adapters[0], 1.0)]), Stack([(adapters[1], 0.5)])]
    across, inside, off = [], [], []
    for turn in range(2 + 2 * rounds):
        block = blocks[turn % 2].applied(model.parts, cache=cache)
        entered, _ = timed(block.__enter__)
        left, _ = timed(lambda block=block: block.__exit__(None, None, None))
        across += [entered + left] if turn > 1 else []
        off += [left] if turn > 1 else []
    with Stack([(one, 1.0) for one in adapters[:2]]).applied(model.parts, cache=cache) as applied:
        for turn in range(2 + 2 * rounds):
            weights = [on, OFF] if turn % 2 else [OFF, on]
            spent, _ = timed(lambda weights=weights: applied.set(weights))
            inside += [spent] if turn > 1 else []
    print(f"A/B of cached stacks: whole blocks {_told(across, 1)} ms, inside one {_told(inside, 1)} ms")
    print(f"taking off what the cache keeps: {_told(off, 1)} ms ({cache.counts})")
    cache.clear()
    with Stack([(one, 1.0) for one in adapters]).applied(model.parts, live=True) as applied:
        changes = [
            timed(lambda turn=turn: applied.set({adapters[3].name: StackWeight(unet=0.1 * turn)}))[0]
            for turn in range(9)
        ]
    print(f"one weight of {len(adapters)} live adapters: {_told(changes, 3)} ms")


def peak(model: Model, adapters: list[Adapter]) -> None:
    """Memory beyond the model and the new weights at the worst moment of a fuse."""
    with Peak() as most, Stack([(one, 1.0) for one in adapters]).applied(model.parts) as applied:
        fresh = applied.summary.fresh_bytes
    print(
        f"memory at the peak of fusing {len(adapters)}: new weights {fresh >> 20} MiB + {most.most - fresh >> 20} MiB"
    )


def steps(model: Model, adapters: list[Adapter], rounds: int, size: int) -> None:
    """Whole UNet steps with live adapters against none, in turns."""
    unet = model.parts["unet"]
    dtype = next(unet.parameters()).dtype
    x, text = torch.randn(2, 4, size, size, dtype=dtype), torch.randn(2, 77, 768, dtype=dtype)
    share = (
        2
        * RANK
        * sum(
            sum(weight.shape[:2])
            for (part, _, _), weight in zip(model.targets, model.weights, strict=True)
            if part == "unet"
        )
    )
    print(f"UNet steps, batch 2, {size}x{size}; factors of one adapter: {share / 1e6:.0f} MFLOP for each token")

    @torch.inference_mode()
    def step() -> object:
        return unet(x, torch.tensor(500), encoder_hidden_states=text).sample

    step()
    for count in (1, 2, 4, 8):
        pairs = []
        for _ in range(rounds):
            plain, _ = timed(step)
            with Stack([(one, 0.3) for one in adapters[:count]]).applied(
                {"unet": unet, "text_encoder": model.parts["text_encoder"]}, live=True
            ):
                step()
                live, _ = timed(step)
            pairs.append(live / plain)
        print(f"  {count} live: x {_told(pairs, 3)} of a step without")


def _told(numbers: object, digits: int = 0) -> str:
    if isinstance(numbers, dict):
        return ", ".join(f"{name} {number:.0f}" for name, number in numbers.items()) + " ms"
    assert isinstance(numbers, list)
    return f"{statistics.median(numbers):.{digits}f} ({min(numbers):.{digits}f} … {max(numbers):.{digits}f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run (default: 5)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the weights")
    parser.add_argument("--step", type=int, metavar="SIZE", help="time UNet steps on latents of this size too")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.dtype}, rank {RANK}")
    model = Model(getattr(torch, options.dtype), whole=options.step is not None)
    names = names_of(model.parts)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"a{seed}.safetensors" for seed in range(FILES)]
        for seed, path in enumerate(paths):
            model.write(path, seed)
        adapters = read_all(paths, names)
        peak(model, adapters[:1])  # before anything else leaves memory that can be used again
        for count in (1, FILES):
            load_and_fuse(model, paths[:count], names, options.rounds)
    switches(model, adapters, options.rounds)
    if options.step is not None:
        steps(model, adapters, options.rounds, options.step)


if __name__ == "__main__":
    main()
