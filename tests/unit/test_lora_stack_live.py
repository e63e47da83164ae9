"""Live layers: the same picture as fused ones for every algorithm, each row by its own weight, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.contract.test_algorithms import SAMPLES
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import ALGORITHMS, Algorithm, Kind
from sakuga.lora.algorithms.full import Full
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.stack import Stack, StackWeight

CASES = [(kind, name) for kind in ALGORITHMS for name in SAMPLES.get(kind.name, {})]
each = pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind.name}: {name}" for kind, name in CASES])
TABLE = [[0.0, 0.5, -1.0], [1.5, 0.0, 2.0]]  # two halves of three frames


def _adapter(name: str, patches: Mapping[str, Algorithm], parameter: str = "weight", **more: object) -> Adapter:
    made = tuple(
        Patch(component="unet", module=module, record=record, keys=(module,), parameter=parameter, **more)
        for module, record in patches.items()
    )
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=made, leftovers=(), total_keys=len(made))


def _lora(out: int = 6, features: int = 8, rank: int = 2, **more: float) -> Lora:
    return Lora(up=torch.randn(out, rank) * 0.3, down=torch.randn(rank, features) * 0.3, **more)


def _sampled(kind: Kind, name: str) -> tuple[nn.Module, Tensor, Adapter]:
    sample = SAMPLES[kind.name][name]
    record = kind.read(sample.draw(), sample.facts)
    return nn.ModuleDict({"q": sample.layer()}).eval(), sample.input(), _adapter("a", {"q": record}, kind.parameter)


@torch.no_grad()
def _outputs(part: nn.Module, x: Tensor, adapter: Adapter, strength: float, live: bool) -> Tensor:
    with Stack([(adapter, strength)]).applied({"unet": part}, live=live) as applied:
        assert (applied.summary.live, applied.summary.tensors) == ((1, 0) if live else (0, 1))
        return part["q"](x)


@each
@pytest.mark.parametrize("strength", [1.0, -0.6])
def test_live_is_fused(kind: Kind, name: str, strength: float) -> None:
    part, x, adapter = _sampled(kind, name)
    fused, live = (_outputs(part, x, adapter, strength, live) for live in (False, True))
    torch.testing.assert_close(live, fused, rtol=1e-4, atol=1e-4 * float(fused.detach().abs().max()))
    assert not torch.equal(fused, part["q"](x))


@each
def test_every_row_has_its_own_weight(kind: Kind, name: str) -> None:
    part, x, adapter = _sampled(kind, name)
    if isinstance(part["q"], nn.Conv2d) and x.ndim == 3:  # a picture without a batch
        x = x[None]
    batch = torch.cat([x[:1]] * 6)
    with torch.no_grad(), Stack([(adapter, 1.0)]).applied({"unet": part}) as applied:
        applied.set_rows({"a": TABLE})
        rows = part["q"](batch)
        for row, weight in enumerate(number for half in TABLE for number in half):
            applied.set([StackWeight(unet=weight)])
            alone = part["q"](x[:1])
            torch.testing.assert_close(rows[row : row + 1], alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))


def _layers() -> nn.ModuleDict:
    return nn.ModuleDict({"q": nn.Linear(8, 6), "conv": nn.Conv2d(8, 6, 3, stride=2, padding=1)}).eval()


def test_weight_zero_does_not_touch_a_bit_of_the_output() -> None:
    part, x = _layers(), torch.randn(6, 8)
    broken = _adapter("broken", {"q": Lora(up=torch.full((6, 1), 1e30), down=torch.full((1, 8), 1e30))})
    plain = part["q"](x)
    with Stack([(broken, 0.0)]).applied({"unet": part}, live=True) as applied:
        assert torch.equal(part["q"](x), plain)
        applied.set_rows({"broken": [[0.0] * 6]})
        assert torch.equal(part["q"](x), plain)


def test_eight_adapters_are_one_pair_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    part, x = _layers(), torch.randn(4, 8)
    entries = [(_adapter(f"a{n}", {"q": _lora(rank=n + 1)}), 0.1 * (n + 1)) for n in range(8)]
    with torch.no_grad():
        with Stack(entries).applied({"unet": part}):
            fused = part["q"](x)
        with Stack(entries).applied({"unet": part}, live=True) as applied:
            torch.testing.assert_close(part["q"](x), fused, rtol=1e-5, atol=1e-5)
            linear, calls = F.linear, []
            monkeypatch.setattr(F, "linear", lambda *words: (calls.append(words), linear(*words))[1])
            part["q"](x)
            assert len(calls) == 2  # the layer's own, and all downs
            assert applied.summary.factor_bytes == 4 * sum(range(1, 9)) * (6 + 8)
            applied.set({f"a{n}": StackWeight(unet=0.0) for n in range(1, 8)})
            part["q"](x)
            assert applied.summary.factor_bytes == 4 * (6 + 8)  # those without effect cost nothing


def test_half_of_the_stack_varies_and_the_rest_follows() -> None:
    part, x = _layers(), torch.randn(6, 8, 5, 5)
    ink = _adapter("ink", {"conv": _conv_lora(), "q": _lora()})
    flat, glow = _adapter("flat", {"conv": _conv_lora()}), _adapter("glow", {"q": _lora()})
    with torch.no_grad(), Stack([(ink, 0.5), (flat, 0.7), (glow, 1.0)]).applied({"unet": part}) as applied:
        assert applied.summary.live == 0
        applied.set_rows({"flat": TABLE, "glow": 0.3})
        assert (applied.summary.live, applied.summary.tensors) == (1, 1)  # the convolution lives, q stays fused
        assert applied.summary.ways == {"a weight differs inside a batch": 1, "its weights are single numbers": 1}
        rows = part["conv"](x)
        applied.set({"flat": StackWeight(unet=TABLE[1][2])})
        assert applied.summary.live == 0
        torch.testing.assert_close(rows[5:], part["conv"](x[5:]), rtol=1e-4, atol=1e-4)
        assert [weight.unet for weight in applied.weights] == [0.5, 2.0, 0.3]


def _conv_lora() -> Lora:
    return Lora(up=torch.randn(6, 2, 1, 1) * 0.3, down=torch.randn(2, 8, 3, 3) * 0.3)


def test_a_motion_layer_has_its_frames_in_the_second_dimension() -> None:
    part = nn.ModuleDict({"motion_modules": nn.ModuleDict({"q": nn.Linear(8, 6), "norm": nn.LayerNorm(6)})})
    change = Full(diff=torch.randn(6))
    adapter = _adapter("a", {"motion_modules.q": _lora(), "motion_modules.norm": change})
    q, norm = part["motion_modules"]["q"], part["motion_modules"]["norm"]
    x = torch.randn(2 * 5, 3, 8)  # two halves of five pixels, three frames
    with torch.no_grad(), Stack([(adapter, 1.0)]).applied({"unet": part}) as applied:
        applied.set_rows([TABLE])
        rows = norm(q(x))
        for half, numbers in enumerate(TABLE):
            for frame, weight in enumerate(numbers):
                applied.set([StackWeight(unet=weight)])
                alone = norm(q(x[half * 5 : half * 5 + 5, frame]))
                torch.testing.assert_close(rows[half * 5 : half * 5 + 5, frame], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("path", "shape", "said"),
    [
        ("q", (4, 8), "unet.q: [4, 2]\n  expected  2 halves · 3 frames = 6 rows"),
        ("motion_modules.q", (4, 4, 8), "unet.motion_modules.q: [4, 4, 2]\n  expected  [2 halves · pixels, 3 frames"),
        ("motion_modules.q", (3, 3, 8), "unet.motion_modules.q: [3, 3, 2]"),
    ],
)
def test_rows_that_nobody_counted_are_an_error(path: str, shape: tuple[int, ...], said: str) -> None:
    part = nn.ModuleDict({"q": nn.Linear(8, 6), "motion_modules": nn.ModuleDict({"q": nn.Linear(8, 6)})})
    adapter = _adapter("a", {"q": _lora(), "motion_modules.q": _lora()})
    with Stack([(adapter, 1.0)]).applied({"unet": part}) as applied:
        applied.set_rows([TABLE])
        with pytest.raises(SakugaError) as caught:
            part.get_submodule(path)(torch.randn(shape))
        assert said in str(caught.value)


def test_a_layer_that_varies_wants_its_rows_before_each_call() -> None:
    part = _layers()
    with Stack([(_adapter("a", {"q": _lora()}), 1.0)]).applied({"unet": part}) as applied:
        applied.set_rows([TABLE])
        part["q"](torch.randn(6, 8))
        applied.set_rows(None)
        with pytest.raises(SakugaError, match="was called without them") as caught:
            part["q"](torch.randn(6, 8))
        assert caught.value.given == "unet.q"
        applied.set_rows([0.5])
        assert applied.summary.live == 0
        part["q"](torch.randn(5, 8))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a": TABLE, "b": [[1.0]]}, "tables of one call have different sizes\n  given     a: (2, 3), b: (1, 1)"),
        ({"a": [[1.0, 2.0], [1.0]]}, "this is no table of halves by frames"),
        ({"a": [[float("nan")]]}, "not a finite number"),
        ([TABLE], "the number of weights is not the number of adapters"),
    ],
)
def test_tables_that_are_none_change_nothing(rows: object, said: str) -> None:
    part, x = _layers(), torch.randn(6, 8)
    with Stack([(_adapter(name, {"q": _lora()}), 1.0) for name in "ab"]).applied({"unet": part}) as applied:
        before = part["q"](x)
        with pytest.raises(SakugaError) as caught:
            applied.set_rows(rows)
        assert said in str(caught.value)
        assert torch.equal(part["q"](x), before)


def test_a_text_encoder_keeps_its_weight_while_frames_vary() -> None:
    unet, text = _layers(), _layers()
    adapter = _adapter("a", {"q": _lora()})
    words = Patch(component="text_encoder", module="q", record=_lora(), keys=("q",))
    both = Adapter(**{**vars(adapter), "patches": (*adapter.patches, words)})
    with Stack([(both, StackWeight(unet=1.0, text_encoder=0.25))]).applied(
        {"unet": unet, "text_encoder": text}
    ) as applied:
        changed = text["q"].weight.detach().clone()
        applied.set_rows([TABLE])
        assert (applied.summary.live, applied.summary.tensors) == (1, 1)
        assert torch.equal(text["q"].weight, changed)


def test_block_weights_multiply_the_rows() -> None:
    part = nn.ModuleDict({"mid_block": nn.ModuleDict({"q": nn.Linear(8, 6)})})
    adapter, x = _adapter("a", {"mid_block.q": _lora()}), torch.randn(6, 8)
    q = part["mid_block"]["q"]
    with torch.no_grad(), Stack([(adapter, StackWeight(blocks={"M00": 0.5}))]).applied({"unet": part}) as applied:
        applied.set_rows([TABLE])
        rows = q(x)
        applied.set([StackWeight(unet=0.5 * TABLE[0][1])])
        torch.testing.assert_close(rows[1], q(x[1]), rtol=1e-5, atol=1e-5)


def test_forward_is_given_back_also_after_an_error() -> None:
    part = _layers()
    before = dict(part["q"].__dict__)
    wrapped = part["conv"].forward
    part["conv"].forward = lambda x: wrapped(x)  # as libraries do that move weights about
    theirs = part["conv"].__dict__["forward"]
    adapter = _adapter("a", {"q": _lora(), "conv": _conv_lora()})
    with pytest.raises(ArithmeticError), Stack([(adapter, 1.0)]).applied({"unet": part}, live=True):
        assert "forward" in part["q"].__dict__
        raise ArithmeticError
    assert dict(part["q"].__dict__) == before
    assert part["conv"].__dict__["forward"] is theirs


@pytest.mark.parametrize("live", [False, True])
def test_a_model_that_was_compiled_before_is_changed_too(live: bool) -> None:
    part, x = _layers(), torch.randn(2, 8)

    def run(graph: torch.fx.GraphModule, _inputs: object) -> Callable[..., object]:
        return graph.forward

    whole = torch.compile(nn.Sequential(part["q"], nn.ReLU()), backend=run)
    with torch.no_grad():
        plain = whole(x)
        with Stack([(_adapter("a", {"0": _lora()}), 1.0)]).applied({"unet": whole}, live=live) as applied:
            changed = whole(x)
            torch.testing.assert_close(changed, F.relu(part["q"](x)))
            assert not torch.equal(changed, plain)
            applied.set([StackWeight(unet=-1.0)])
            torch.testing.assert_close(whole(x), F.relu(part["q"](x)))
            assert not torch.equal(whole(x), changed)
        assert torch.equal(whole(x), plain)


def test_what_reads_weights_without_calling_its_layers_is_refused() -> None:
    part = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)})
    adapter = _adapter("a", {"attention.out_proj": _lora(8, 8)})
    with Stack([(adapter, 1.0)]).applied({"unet": part}, live=True) as applied:
        assert applied.summary.tensors == 1  # what was only wished for is fused instead
        before = part["attention"].out_proj.weight.detach().clone()
        with pytest.raises(AdapterDoesNotFit, match="cannot add its adapters") as caught:
            applied.set_rows([TABLE])
        assert "MultiheadAttention reads the weights" in str(caught.value)
        assert torch.equal(part["attention"].out_proj.weight, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_tiny_factors_survive_a_half_precision_layer(dtype: torch.dtype) -> None:
    up, down = (torch.rand(64, 4) + 0.5) * 1e4, (torch.rand(4, 64) + 0.5) * 1e-8
    part = nn.ModuleDict({"q": nn.Linear(64, 64).to(dtype)})
    x = torch.rand(2, 64).to(dtype)
    with torch.no_grad():
        part["q"].weight.zero_()
        part["q"].bias.zero_()
        with Stack([(_adapter("a", {"q": Lora(up=up, down=down)}), 1.0)]).applied({"unet": part}, live=True):
            gain = part["q"](x).float()
    torch.testing.assert_close(gain, x.float() @ (up @ down).T, rtol=2e-2, atol=0)


def test_factors_that_were_cached_in_inference_mode_serve_training() -> None:
    part, x = _layers(), torch.randn(3, 8)
    with Stack([(_adapter("a", {"q": _lora()}), 1.0)]).applied({"unet": part}, live=True):
        with torch.inference_mode():
            part["q"](x)
        y = part["q"](x.requires_grad_())
        y.sum().backward()
    assert x.grad is not None
