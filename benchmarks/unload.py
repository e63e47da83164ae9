"""Exact unload: long random walks of loading, weighing, varying, calling, failing and unloading adapters on a small
model, after each of which every bit of it must be what it was. The test of the suite walks a few thousand of them.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import sakuga.lora.making as making
from sakuga.errors import SakugaError
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.bias import Bias
from sakuga.lora.algorithms.dora import Dora
from sakuga.lora.algorithms.full import Full
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.cache import Cache
from sakuga.lora.origin import origin_of
from sakuga.lora.stack import Applied, Stack, StackWeight

STEPS = ("enter", "leave", "raise", "set", "rows", "call", "overflow", "interrupt", "misfit")


class Walk:
    """A model and what may be done to it. ``step`` asserts what must hold. With a ``folder`` the model is written
    there, and pristine bytes are read from it again; otherwise they are kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        torch.manual_seed(0)
        self.unet = nn.ModuleDict(
            {
                "q": nn.Linear(8, 6),
                "tied": nn.Linear(8, 6, bias=False),
                "qkv": nn.Linear(8, 18).to(torch.bfloat16),
                "conv": nn.Conv2d(4, 6, 3).to(torch.float16),
                "norm": nn.GroupNorm(2, 6),
                "mid_block": nn.ModuleDict({"wide": nn.Linear(8, 6).double()}),
            }
        ).requires_grad_(False)
        self.unet["tied"].weight = self.unet["q"].weight
        self.text = nn.ModuleDict({"q": nn.Linear(8, 6)})
        self.parts = {"unet": self.unet, "text_encoder": self.text}
        self.adapters = [_adapter(name) for name in ("ink", "flat", "glow", "dora")]
        self.cache = Cache(host_bytes=4096)
        self.origin = None
        if folder is not None:
            files = {name: folder / f"{name}.safetensors" for name in self.parts}
            for name, path in files.items():
                save_file({key: own.clone() for key, own in self.parts[name].state_dict().items()}, path)
            self.origin = origin_of(files)
        self.start = self.digest()
        self.steps = 0
        self._block: AbstractContextManager[Applied] | None = None
        self._applied: Applied | None = None
        self._count = 0

    def digest(self) -> str:
        """All that an unload must give back: objects, addresses, formats and bits."""
        found = hashlib.sha256()
        for component, part in self.parts.items():
            for name, module in part.named_modules(remove_duplicate=False):
                found.update(repr((component, name, "forward" in module.__dict__)).encode())
                for kind, own in module._parameters.items():
                    if own is None:
                        found.update(f"{kind} none".encode())
                        continue
                    facts = (kind, id(own), own.data_ptr(), own.dtype, own.stride(), own.requires_grad)
                    found.update(repr(facts).encode())
                    found.update(own.detach().contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def step(self, name: str, numbers: Sequence[float]) -> None:
        """One step. ``numbers`` (six of them) decide what is not said by the name."""
        self.steps += 1
        getattr(self, f"_{name}")(list(numbers))
        if self._applied is None:
            assert self.digest() == self.start, f"not as it was after {self.steps} steps, the last {name}"

    def end(self) -> None:
        """Unload whatever is applied."""
        self._leave([])
        assert self.digest() == self.start

    def _enter(self, numbers: list[float]) -> None:
        if self._applied is None:
            chosen = [one for one, number in zip(self.adapters, numbers, strict=False) if number > -1]
            stack = Stack([(one, self._weight(numbers[index:])) for index, one in enumerate(chosen)])
            self._count = len(chosen)
            self._block = stack.applied(
                self.parts,
                live=numbers[4] > 1,
                cache=self.cache if numbers[5] > 0 else None,
                origin=self.origin,
                reread=self.origin is not None,
            )
            self._applied = self._block.__enter__()

    def _leave(self, _numbers: list[float]) -> None:
        if self._block is not None:
            block, self._block, self._applied = self._block, None, None
            block.__exit__(None, None, None)

    def _raise(self, _numbers: list[float]) -> None:
        if self._block is not None:
            block, self._block, self._applied = self._block, None, None
            error = ArithmeticError("inside the block")
            try:
                block.__exit__(ArithmeticError, error, None)
            except ArithmeticError as caught:
                assert caught is error

    def _set(self, numbers: list[float]) -> None:
        if self._applied is not None:
            self._applied.set([self._weight(numbers[index:]) for index in range(self._count)])

    def _rows(self, numbers: list[float]) -> None:
        if self._applied is not None:
            table = [numbers[:3], numbers[3:6]]
            self._applied.set_rows([table if number > 0 else number for number in numbers[: self._count]])

    def _call(self, numbers: list[float]) -> None:
        x = torch.full((6, 8), numbers[0])
        for layer, given in (
            *((self.unet[name], x) for name in ("q", "tied")),
            (self.unet["qkv"], x.bfloat16()),
            (self.unet["norm"], x[:, :6]),
            (self.unet["mid_block"]["wide"], x.double()),
            (self.text["q"], x[:1]),
        ):
            with torch.no_grad():
                layer(given)

    def _overflow(self, numbers: list[float]) -> None:
        """Weights beyond the format of one layer, when half of the others are written already."""
        if self._applied is not None and self._count:
            try:
                self._applied.set([StackWeight(unet=1e7 * (1 + abs(numbers[0])))] * self._count)
            except SakugaError:
                assert self.digest() == self.start, "a failure left something behind"
                self._set(numbers)

    def _interrupt(self, numbers: list[float]) -> None:
        """Ctrl-C in the middle of the work."""
        if self._applied is not None:
            make, left = making.fused, [int(abs(numbers[0]))]

            def interrupted(*words: object) -> bool:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return make(*words)

            making.fused = interrupted
            try:
                self._set([-number for number in numbers])
                return
            except KeyboardInterrupt:
                assert self.digest() == self.start, "an interrupt left something behind"
            finally:
                making.fused = make
            self._set(numbers)

    def _misfit(self, _numbers: list[float]) -> None:
        """A stack that does not fit, or that may not be applied now, changes nothing."""
        before = self.digest()
        wrong = _made("wrong", [_patch("unet", "q", _lora(6, 8)), _patch("unet", "norm", _lora(7, 8))])
        for stack in (
            Stack([(wrong, 1.0)]),
            Stack([(self.adapters[0], 1.0)]) if self._applied else Stack([(wrong, 1.0)]),
        ):
            try:
                with stack.applied(self.parts):
                    raise AssertionError("it was applied")
            except SakugaError:
                assert self.digest() == before

    @staticmethod
    def _weight(numbers: Sequence[float]) -> StackWeight:
        first, *rest = [*numbers, 0.0, 0.0]
        blocks = {"M00": rest[0]} if rest[1] > 0 else {}
        return StackWeight(unet=round(first), text_encoder=rest[0], blocks=blocks)


def _patch(component: str, module: str, record: Algorithm, **more: object) -> Patch:
    return Patch(component=component, module=module, record=record, keys=(module,), **more)


def _lora(out: int, features: int) -> Lora:
    return Lora(up=torch.randn(out, 2) * 0.3, down=torch.randn(2, features) * 0.3)


def _adapter(name: str) -> Adapter:
    conv = Lora(up=torch.randn(6, 2, 1, 1), down=torch.randn(2, 4, 3, 3))
    square = _lora(6, 8)
    if name == "dora":
        square = Dora(inner=square, lengths=torch.rand(6, 1) + 0.5, spelling="dora_scale")
    patches = [
        _patch("unet", "q", square),
        _patch("unet", "q", Full(diff=torch.randn(6, 8))),
        _patch("unet", "tied", Bias(values=torch.randn(6)), parameter="bias"),
        _patch("unet", "qkv", _lora(6, 8), into=(6, 12)),
        _patch("unet", "conv", conv),
        _patch("unet", "norm", Bias(values=torch.randn(6)), parameter="bias"),
        _patch("unet", "norm", Full(diff=torch.randn(6))),
        _patch("unet", "mid_block.wide", _lora(6, 8)),
        _patch("text_encoder", "q", _lora(6, 8)),
    ]
    return _made(name, patches)


def _made(name: str, patches: list[Patch]) -> Adapter:
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=tuple(patches), leftovers=(), total_keys=len(patches))


def main() -> None:
    """Walk, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000, help="how many steps (default: 5000)")
    parser.add_argument("--long", action="store_const", dest="steps", const=100_000, help="100 000 steps")
    parser.add_argument("--reread", action="store_true", help="read pristine bytes from a file again, keep no copies")
    parser.add_argument("--seed", type=int, default=0, help="of the walk (default: 0)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dice, started = random.Random(options.seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(Path(folder) if options.reread else None)
        for _ in range(options.steps):
            walk.step(dice.choice(STEPS), [dice.uniform(-3, 3) for _ in range(6)])
        walk.end()
    seconds = time.perf_counter() - started
    print(f"{walk.steps} steps of {', '.join(STEPS)} in {seconds:.0f} s (seed {options.seed}): every bit as it was")
    print(walk.cache.counts)


if __name__ == "__main__":
    main()
