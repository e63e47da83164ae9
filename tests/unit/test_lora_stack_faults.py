"""What goes wrong around a stack: a misfit changes nothing, an interrupt gives the bytes back, misuse says its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import sakuga.lora.making
from sakuga.errors import AdapterDoesNotFit, SakugaError, Several
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm, Factors
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.stack import Stack, StackWeight
from sakuga.lora.swap import Swap

FULL = StackWeight(unet=1.0, text_encoder=1.0)
HALF = StackWeight(unet=0.5, text_encoder=0.5)
OFF = StackWeight(unet=0.0, text_encoder=0.0)


def _unet() -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({name: nn.Linear(8, 6) for name in "abc"})


def _lora(out: int = 6, features: int = 8) -> Lora:
    return Lora(up=torch.ones(out, 2), down=torch.ones(2, features))


def _adapter(name: str, records: Mapping[str, Algorithm], component: str = "unet") -> Adapter:
    patches = tuple(
        Patch(component=component, module=module, record=record, keys=(module,)) for module, record in records.items()
    )
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=patches, leftovers=(), total_keys=len(patches))


@dataclass(frozen=True, kw_only=True, eq=False)
class Trap:
    """A record that raises ``error`` once its delta is asked for at a strength that is not the first."""

    error: BaseException
    armed: list[bool]
    needs_base: ClassVar[bool] = False
    rank: None = None

    def misfit(self, shape: tuple[int, ...]) -> None:
        return None

    def remarks(self) -> tuple[str, ...]:
        return ()

    def delta(self, base: Tensor) -> Tensor:
        if self.armed[0]:
            raise self.error
        return torch.ones(base.shape)

    def beside(self, x: Tensor, layer: nn.Module) -> Tensor:
        raise AssertionError("not asked for here")

    def factors(self) -> Factors | None:
        return None


def _bits(part: nn.Module) -> list[bytes]:
    return [tensor.detach().numpy().tobytes() for tensor in part.state_dict().values()]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ({"a": _lora(), "nowhere": _lora()}, "unet.nowhere: there is no such module"),
        ({"a": _lora(), "b": _lora(out=5)}, "unet.b: its weight is [6, 8], the adapter's change is [5, 8]"),
        ({"a": _lora(), "": _lora()}, "ModuleDict has no weight of its own"),
    ],
)
def test_a_misfit_is_told_before_anything_changes(records: dict[str, Algorithm], said: str) -> None:
    unet = _unet()
    before = _bits(unet)
    with (
        pytest.raises(AdapterDoesNotFit) as caught,
        Stack(((_adapter("ink", records), FULL),)).applied({"unet": unet}),
    ):
        pytest.fail("it was applied")
    assert _bits(unet) == before
    assert said in str(caught.value)
    assert "1 of them without a place" in str(caught.value)


def test_all_misfits_are_told_together() -> None:
    stack = Stack(tuple((_adapter(name, {"nowhere": _lora()}), FULL) for name in ("ink", "flat")))
    with pytest.raises(Several) as caught, stack.applied({"unet": _unet()}):
        pytest.fail("it was applied")
    assert [finding.title for finding in caught.value.findings] == [
        "ink does not fit these parts",
        "flat does not fit these parts",
    ]


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (nn.Parameter(torch.ones(6, 8, dtype=torch.int8), requires_grad=False), "its weight is int8"),
        (nn.Parameter(torch.ones(6, 8, device="meta")), "on the meta device"),
    ],
)
def test_weights_that_cannot_be_added_to_are_refused(weight: nn.Parameter, said: str) -> None:
    unet = _unet()
    unet["b"].weight = weight
    stack = Stack(((_adapter("ink", {"a": _lora(), "b": _lora()}), FULL),))
    with pytest.raises(AdapterDoesNotFit) as caught, stack.applied({"unet": unet}):
        pytest.fail("it was applied")
    assert said in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("when", ["on entering", "on setting"])
def test_an_error_in_the_middle_gives_every_byte_back(error: BaseException, when: str) -> None:
    unet, armed = _unet(), [when == "on entering"]
    before = _bits(unet)
    adapter = _adapter("ink", {"a": _lora(), "b": _lora(), "c": Trap(error=error, armed=armed)})
    with pytest.raises(type(error)), Stack(((adapter, FULL),)).applied({"unet": unet}) as applied:
        armed[0] = True
        assert _bits(unet) != before
        applied.set({"ink": HALF})
    assert _bits(unet) == before
    armed[0] = False
    with Stack(((adapter, FULL),)).applied({"unet": unet}):  # the parts are free again
        assert _bits(unet) != before


def test_after_a_failed_set_the_parts_are_pristine_and_may_be_set_again() -> None:
    unet, armed = _unet(), [False]
    pristine = _bits(unet)
    adapter = _adapter("ink", {"a": _lora(), "b": Trap(error=MemoryError(), armed=armed)})
    with Stack(((adapter, FULL),)).applied({"unet": unet}) as applied:
        full = _bits(unet)
        armed[0] = True
        with pytest.raises(MemoryError):
            applied.set({"ink": HALF})
        assert _bits(unet) == pristine
        armed[0] = False
        applied.set({"ink": FULL})
        assert _bits(unet) == full
    assert _bits(unet) == pristine


def test_an_interrupt_while_restoring_waits_until_all_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = _unet()
    before = _bits(unet)
    back, calls = Swap.back, []

    def interrupted(swap: Swap) -> tuple[str, ...]:
        calls.append(swap)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return back(swap)

    stack = Stack(((_adapter("ink", {name: _lora() for name in "abc"}), FULL),))
    with pytest.raises(KeyboardInterrupt), stack.applied({"unet": unet}):
        monkeypatch.setattr(Swap, "back", interrupted)
    assert _bits(unet) == before
    assert len(calls) == 4


def test_a_part_carries_one_stack_at_a_time() -> None:
    unet = _unet()
    before = _bits(unet)
    with Stack(()).applied({"unet": unet}):
        with pytest.raises(SakugaError, match="already carry an applied stack"), Stack(()).applied({"unet": unet}):
            pytest.fail("it was applied twice")
        inner = Stack(((_adapter("ink", {"": _lora()}), FULL),))  # a part of the part is the same part
        with pytest.raises(SakugaError, match="already carry"), inner.applied({"unet": unet["a"]}):
            pytest.fail("it was applied twice")
        with Stack(()).applied({"unet": _unet()}):  # another model is another matter
            assert _bits(unet) == before
    with Stack(()).applied({"unet": unet}):
        assert _bits(unet) == before


def test_only_tensors_whose_weight_changes_are_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, text = _unet(), _unet()
    ink, flat = _adapter("ink", {"a": _lora(), "b": _lora()}), _adapter("flat", {"b": _lora()})
    words = _adapter("words", {"a": _lora()}, "text_encoder")
    written: list[Tensor] = []
    make = sakuga.lora.making.fused
    stack = Stack(((ink, FULL), (flat, FULL), (words, FULL)))
    with stack.applied({"unet": unet, "text_encoder": text}) as applied:
        monkeypatch.setattr(
            sakuga.lora.making,
            "fused",
            lambda pristine, parts, out, scratch: (written.append(out), make(pristine, parts, out, scratch))[1],
        )
        applied.set({"flat": HALF})
        assert [tensor.data_ptr() for tensor in written] == [unet["b"].weight.data_ptr()]
        written.clear()
        applied.set({"ink": StackWeight(unet=1.0, text_encoder=0.2)})  # it has nothing in the text encoder
        assert written == []
        applied.set([FULL, HALF, HALF])
        assert [tensor.data_ptr() for tensor in written] == [text["a"].weight.data_ptr()]
        assert applied.weights == (FULL, HALF, HALF)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"inc": FULL}, "in the stack\n  given     inc\n  expected  ink, twin, twin\n  nearest   ink"),
        ({"twin": FULL}, "this adapter is in the stack twice"),
        ([FULL], "given     1 weights\n  expected  3"),
    ],
)
def test_weights_for_what_is_not_in_the_stack_say_so(weights, said: str) -> None:
    twin = _adapter("twin", {"a": _lora()})
    stack = Stack(((_adapter("ink", {"a": _lora()}), FULL), (twin, FULL), (twin, FULL)))
    unet = _unet()
    with stack.applied({"unet": unet}) as applied:
        now = _bits(unet)
        with pytest.raises(SakugaError) as caught:
            applied.set(weights)
        assert said in str(caught.value)
        assert _bits(unet) == now


def test_set_after_the_block_is_an_error() -> None:
    with Stack(()).applied({"unet": _unet()}) as applied:
        pass
    with pytest.raises(SakugaError, match="not applied any more"):
        applied.set([])


def test_a_missing_part_is_an_error_only_where_it_is_to_act() -> None:
    adapter = _adapter("words", {"a": _lora()}, "text_encoder")
    with (
        pytest.raises(AdapterDoesNotFit, match="no text_encoder among the parts"),
        Stack(((adapter, FULL),)).applied({"unet": _unet()}),
    ):
        pytest.fail("it was applied")
    with (
        pytest.raises(AdapterDoesNotFit, match="no text_encoder among the parts"),
        Stack(((adapter, StackWeight(blocks={"IN00": 0.0})),)).applied({"unet": _unet()}),
    ):
        pytest.fail("it was applied")
    with Stack(((adapter, StackWeight(blocks={"BASE": 0.0})),)).applied({"unet": _unet()}):
        pass
    with Stack(((adapter, OFF),)).applied({"unet": _unet()}) as applied:
        with pytest.raises(SakugaError, match="words is to act on a part that was not given"):
            applied.set([FULL])
        assert applied.weights == (OFF,)


def test_tied_weights_are_kept_and_changed_once() -> None:
    unet = _unet()
    unet["b"].weight = unet["a"].weight  # one Parameter
    unet["c"].weight = nn.Parameter(unet["a"].weight.detach())  # another Parameter on the same memory
    pristine, before = unet["a"].weight.detach().clone(), _bits(unet)
    stack = Stack(((_adapter("ink", {"a": _lora()}), FULL), (_adapter("flat", {"c": _lora()}), FULL)))
    with stack.applied({"unet": unet, "again": unet}) as applied:
        assert torch.allclose(unet["b"].weight, pristine + 4)
        assert applied.summary.tensors == 1
        assert applied.summary.fresh_bytes == pristine.nbytes
        assert applied.summary.tied == (("unet.a", "unet.b", "unet.c", "again.a", "again.b", "again.c"),)
    assert _bits(unet) == before


def test_one_adapter_for_two_modules_of_one_weight_is_refused() -> None:
    unet = _unet()
    unet["b"].weight = unet["a"].weight
    stack = Stack(((_adapter("ink", {"a": _lora(), "b": _lora()}), FULL),))
    with pytest.raises(AdapterDoesNotFit) as caught, stack.applied({"unet": unet}):
        pytest.fail("it was applied")
    assert "unet.b: shares one weight with a, which it changes too" in str(caught.value)


@pytest.mark.parametrize("how", ["replaced", "cast"])
def test_a_weight_that_was_replaced_meanwhile_is_told(how: str) -> None:
    unet = _unet()
    before = _bits(unet["b"])
    stack = Stack(((_adapter("ink", {"a": _lora(), "b": _lora()}), FULL),))
    with pytest.raises(SakugaError, match="replaced or cast") as caught, stack.applied({"unet": unet}):
        if how == "cast":
            unet["a"].to(torch.float64)
        else:
            unet["a"].weight = nn.Parameter(torch.zeros(6, 8))
    assert caught.value.given == "unet.a"
    assert _bits(unet["b"]) == before  # all others were given back


def test_a_part_that_was_loaded_over_in_place_gets_its_first_bytes_back() -> None:
    unet = _unet()
    before = _bits(unet)
    with Stack(((_adapter("ink", {"a": _lora()}), FULL),)).applied({"unet": unet}), torch.no_grad():
        unet["a"].weight.zero_()
    assert _bits(unet) == before
