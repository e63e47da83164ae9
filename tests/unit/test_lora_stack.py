"""A stack on real modules: the sum from the pristine weight, the same bits in any order, the very bytes back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.fused import Part, summed
from sakuga.lora.stack import Stack, StackWeight

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
HALF = StackWeight(unet=0.5, text_encoder=0.5)
FULL = StackWeight(unet=1.0, text_encoder=1.0)


def _parts(dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
    torch.manual_seed(1)
    unet = nn.ModuleDict({"q": nn.Linear(8, 6), "conv": nn.Conv2d(4, 6, 3), "aside": nn.Linear(8, 6)})
    text = nn.ModuleDict({"q": nn.Linear(8, 6)})
    return {"unet": unet.to(dtype), "text_encoder": text.to(dtype)}


def _adapter(name: str, records: Mapping[str, Algorithm]) -> Adapter:
    patches = tuple(
        Patch(component=place.split(".")[0], module=place.split(".", 1)[1], record=record, keys=(place,))
        for place, record in records.items()
    )
    digest = hashlib.sha256(name.encode()).hexdigest()
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": digest, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=patches, leftovers=(), total_keys=len(patches))


def _made(name: str, size: float = 0.3) -> Adapter:
    """An adapter on three of the four layers; its name is its seed."""
    torch.manual_seed(sum(name.encode()))
    linear = {
        place: Lora(up=torch.randn(6, 2) * size, down=torch.randn(2, 8)) for place in ("unet.q", "text_encoder.q")
    }
    conv = Lora(up=torch.randn(6, 2, 1, 1) * size, down=torch.randn(2, 4, 3, 3), alpha=1.0)
    return _adapter(name, {**linear, "unet.conv": conv})


def _bits(parts: Mapping[str, nn.Module]) -> dict[str, bytes]:
    return {
        f"{part}.{name}": tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def _weight(parts: Mapping[str, nn.Module], place: str) -> Tensor:
    part, _, module = place.partition(".")
    return dict(parts[part].named_parameters())[f"{module}.weight"]


PLACES = ("unet.q", "unet.conv", "text_encoder.q")
INK, FLAT, GLOW = _made("ink"), _made("flat"), _made("glow")


@pytest.fixture(params=DTYPES, ids=str)
def parts(request: pytest.FixtureRequest) -> Iterator[dict[str, nn.Module]]:
    """Parts in each number format; they must come back as they were, whatever a test does with them."""
    made = _parts(request.param)
    before = _bits(made)
    where = {name: tensor.data_ptr() for part in made.values() for name, tensor in part.named_parameters()}
    yield made
    assert _bits(made) == before
    assert {name: tensor.data_ptr() for part in made.values() for name, tensor in part.named_parameters()} == where


def _expected(parts: Mapping[str, nn.Module], place: str, uses: Sequence[tuple[Adapter, float]]) -> Tensor:
    """W + Σ s ΔW in float64, rounded once."""
    weight = _weight(parts, place).detach().double()
    for adapter, strength in uses:
        record = {f"{patch.component}.{patch.module}": patch.record for patch in adapter.patches}[place]
        assert isinstance(record, Lora)
        up, down = record.up.double().flatten(1), record.down.double().flatten(1)
        weight = weight + strength * record.scale * (up @ down).reshape(weight.shape)
    return weight


def test_the_weights_are_the_sum_from_the_pristine(parts: dict[str, nn.Module]) -> None:
    uses = [(INK, StackWeight(unet=0.8, text_encoder=-0.5)), (FLAT, StackWeight(unet=-1.5, text_encoder=2.0))]
    wanted = {
        place: _expected(parts, place, [(adapter, weight.on(place.split(".")[0])) for adapter, weight in uses])
        for place in PLACES
    }
    with Stack(tuple(uses)).applied(parts):
        for place, exact in wanted.items():
            found = _weight(parts, place)
            if found.dtype in (torch.float32, torch.float64):
                torch.testing.assert_close(found.detach().double(), exact, rtol=1e-6, atol=1e-6)
            else:  # within one unit in the last place of the exactly rounded value
                near = torch.nextafter(exact.to(found.dtype), torch.full_like(found, torch.inf)).double()
                gap = (near - exact.to(found.dtype).double()).abs()
                assert ((found.double() - exact.to(found.dtype).double()).abs() <= gap).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_merged_half_precision_is_the_fp32_sum_rounded_once(dtype: torch.dtype) -> None:
    parts = _parts(dtype)
    pristine = _weight(parts, "unet.q").clone()
    chosen = [Part(strength=0.5, record=one.patches[0].record) for one in sorted((INK, FLAT), key=lambda a: a.sha256)]
    total = summed(pristine, chosen)
    exact = sum(0.5 * part.record.delta(pristine).double() for part in chosen)
    torch.testing.assert_close(total.double(), exact, rtol=1e-6, atol=1e-6)
    with Stack(((INK, HALF), (FLAT, HALF))).applied(parts):
        assert torch.equal(_weight(parts, "unet.q"), (pristine.float() + total).to(dtype))


def test_only_what_the_adapter_names_is_changed(parts: dict[str, nn.Module]) -> None:
    before = _bits(parts)
    with Stack(((INK, FULL),)).applied(parts) as applied:
        changed = {name for name, bits in _bits(parts).items() if bits != before[name]}
        assert changed == {f"{place}.weight" for place in PLACES}
        size = sum(_weight(parts, place).nbytes for place in PLACES)
        assert applied.summary.tensors == 3
        assert applied.summary.fresh_bytes == size
        assert applied.summary.tied == ()


def test_weight_zero_leaves_the_very_bytes_and_keeps_no_copy(parts: dict[str, nn.Module]) -> None:
    before = _bits(parts)
    with Stack(((INK, StackWeight(unet=0.0, text_encoder=-0.0)),)).applied(parts) as applied:
        assert _bits(parts) == before
        assert (applied.summary.tensors, applied.summary.fresh_bytes) == (0, 0)


@each_dtype
def test_an_adapter_that_is_zero_leaves_even_a_negative_zero(dtype: torch.dtype) -> None:
    parts = _parts(dtype)
    with torch.no_grad():
        _weight(parts, "unet.q")[0, 0] = -0.0
    before = _bits(parts)
    zero = _adapter("new", {"unet.q": Lora(up=torch.zeros(6, 2), down=torch.randn(2, 8))})
    with Stack(((zero, FULL),)).applied(parts):
        assert _bits(parts) == before


def test_the_same_adapter_twice_adds_up() -> None:
    parts = _parts()
    with Stack(((INK, HALF), (INK, HALF))).applied(parts):
        twice = _weight(parts, "unet.conv").clone()
    with Stack(((INK, FULL),)).applied(parts):
        assert torch.equal(twice, _weight(parts, "unet.conv"))


numbers = st.floats(-4, 4, width=32).map(lambda value: value if abs(value) > 1e-3 else 0.0)
stacks = st.lists(st.tuples(st.sampled_from([INK, FLAT, GLOW]), numbers, numbers), max_size=5)


@settings(deadline=None, max_examples=40)
@given(entries=stacks, dtype=st.sampled_from(DTYPES), random=st.randoms())
def test_any_order_gives_the_same_bits(entries: list[tuple[Adapter, float, float]], dtype: torch.dtype, random) -> None:
    parts = _parts(dtype)
    stack = [(adapter, StackWeight(unet=u, text_encoder=t)) for adapter, u, t in entries]
    with Stack(tuple(stack)).applied(parts):
        first = _bits(parts)
    random.shuffle(stack)
    with Stack(tuple(stack)).applied(parts):
        assert _bits(parts) == first


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=6),
    dtype=st.sampled_from(DTYPES),
    fails=st.booleans(),
)
def test_any_history_of_weights_is_forgotten(
    steps: list[tuple[float, float, float, float]], dtype: torch.dtype, fails: bool
) -> None:
    parts = _parts(dtype)
    pristine = _bits(parts)
    stack = Stack(((INK, HALF), (FLAT, FULL)))
    try:
        with stack.applied(parts) as applied:
            for a, b, c, d in steps:
                ink, flat = StackWeight(unet=a, text_encoder=b), StackWeight(unet=c, text_encoder=d)
                applied.set({"ink": ink, "flat": flat})
                now = _bits(parts)
            if steps:
                applied.set([HALF, FULL])
                applied.set([ink, flat])
                assert _bits(parts) == now
            if fails:
                raise ArithmeticError
    except ArithmeticError:
        assert fails
    assert _bits(parts) == pristine
    if steps:
        with Stack(((FLAT, flat), (INK, ink))).applied(parts):
            assert _bits(parts) == now


@each_dtype
def test_nan_payloads_and_negative_zeros_come_back(dtype: torch.dtype) -> None:
    parts = _parts(dtype)
    weight = _weight(parts, "unet.q")
    ints = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    quiet_and_signalling = torch.full((2,), float("nan"), dtype=weight.dtype).view(ints)
    quiet_and_signalling[0] += 5
    quiet_and_signalling[1] = torch.tensor([float("inf")], dtype=weight.dtype).view(ints)[0] + 1
    with torch.no_grad():
        weight.view(ints)[0, :2] = quiet_and_signalling
        weight.view(ints)[0, 2] = torch.iinfo(ints).min  # -0.0
    before = _bits(parts)
    with Stack(((INK, FULL),)).applied(parts):
        assert _bits(parts) != before
    assert _bits(parts) == before


@each_dtype
def test_memory_layout_is_kept(dtype: torch.dtype) -> None:
    parts = _parts(dtype)
    parts["unet"]["conv"].to(memory_format=torch.channels_last)
    weight = _weight(parts, "unet.conv")
    stride, before, bits = weight.stride(), weight.data_ptr(), _bits(parts)
    exact = _expected(parts, "unet.conv", [(INK, 1.0)])
    with Stack(((INK, FULL),)).applied(parts):
        assert weight.stride() == stride
        assert weight.data_ptr() != before  # the pristine memory is not written
        torch.testing.assert_close(weight.detach().double(), exact, rtol=1e-2, atol=1e-2)
    assert (weight.stride(), weight.data_ptr(), _bits(parts)) == (stride, before, bits)


@pytest.mark.parametrize("inside", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("made_in_inference_mode", [False, True])
def test_gradients_may_be_off_anywhere(inside: type, made_in_inference_mode: bool) -> None:
    with torch.inference_mode(made_in_inference_mode):
        parts = _parts()
    before = _bits(parts)
    x = torch.ones(1, 8)
    with inside():
        plain = parts["unet"]["q"](x)
    with Stack(((INK, FULL),)).applied(parts) as applied, inside():
        assert not torch.equal(parts["unet"]["q"](x), plain)
        applied.set({"ink": HALF})
    assert _bits(parts) == before
    with inside(), Stack(((INK, FULL),)).applied(parts) as applied:
        applied.set({"ink": HALF})
    assert _bits(parts) == before


def test_an_optimiser_and_its_gradients_stay_with_the_weights() -> None:
    parts = _parts()
    weight = _weight(parts, "unet.q")
    optimiser = torch.optim.SGD([weight], lr=0.0)
    with Stack(((INK, FULL),)).applied(parts):
        parts["unet"]["q"](torch.ones(1, 8)).sum().backward()
        optimiser.step()
    assert optimiser.param_groups[0]["params"][0] is parts["unet"]["q"].weight
    assert weight.grad is not None
    assert weight.requires_grad


def test_autocast_does_not_reach_the_sum() -> None:
    parts = _parts()
    with Stack(((INK, FULL),)).applied(parts):
        exact = _weight(parts, "unet.q").clone()
    with torch.autocast("cpu", torch.bfloat16), Stack(((INK, FULL),)).applied(parts):
        assert torch.equal(_weight(parts, "unet.q"), exact)


def test_summary_is_of_this_moment(parts: dict[str, nn.Module]) -> None:
    with Stack(((INK, FULL),)).applied(parts) as applied:
        applied.set({"ink": StackWeight(unet=0.0, text_encoder=1.0)})
        assert applied.summary.tensors == 1
        assert applied.summary.fresh_bytes == _weight(parts, "text_encoder.q").nbytes
        assert applied.summary.ways == {"its weights are single numbers": 3}
    assert (applied.summary.tensors, applied.summary.fresh_bytes) == (0, 0)


def test_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(SakugaError, match="not a finite number"):
        StackWeight(unet=float("nan"), text_encoder=1.0)


def test_a_result_beyond_the_format_is_refused(parts: dict[str, nn.Module]) -> None:
    before = _bits(parts)
    huge = _adapter("huge", {"unet.q": Lora(up=torch.full((6, 2), 1e30), down=torch.full((2, 8), 1e30))})
    with pytest.raises(AdapterDoesNotFit, match="beyond the range"), Stack(((INK, FULL), (huge, FULL))).applied(parts):
        pytest.fail("it was applied")
    assert _bits(parts) == before
