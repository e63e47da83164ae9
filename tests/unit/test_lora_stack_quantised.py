"""A base whose weights are quantised: its layers keep them and add their adapters to their output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.contract.test_algorithms import SAMPLES
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import ALGORITHMS, Algorithm, Kind
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.stack import Stack
from sakuga.lora.targets import trees_of

CASES = [(kind, name) for kind in ALGORITHMS for name in SAMPLES.get(kind.name, {})]


def _adapter(name: str, patches: dict[str, Algorithm], parameter: str = "weight") -> Adapter:
    made = tuple(
        Patch(component="unet", module=module, record=record, keys=(module,), parameter=parameter)
        for module, record in patches.items()
    )
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=made, leftovers=(), total_keys=len(made))


class Float8Linear(nn.Linear):
    """A Linear whose weight is stored in eight bits."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


def _float8(plain: nn.Linear) -> tuple[nn.Module, Tensor, Tensor | None]:
    layer = Float8Linear(plain.in_features, plain.out_features, bias=plain.bias is not None)
    layer.load_state_dict(plain.state_dict())
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
    return layer, layer.weight.detach().float(), layer.bias


def _int8(plain: nn.Linear) -> tuple[nn.Module, Tensor, Tensor | None]:
    layer = torch.ao.quantization.quantize_dynamic(nn.Sequential(plain), dtype=torch.qint8)[0]
    return layer, layer.weight().dequantize(), layer.bias()


LINEAR = [(kind, name) for kind, name in CASES if isinstance(SAMPLES[kind.name][name].layer(), nn.Linear)]


@pytest.mark.filterwarnings("ignore")  # torch deprecates its own quantised layers
@pytest.mark.parametrize("made", [_float8, _int8])
@pytest.mark.parametrize(("kind", "name"), LINEAR, ids=[f"{kind.name}: {name}" for kind, name in LINEAR])
def test_a_quantised_layer_adds_its_adapters_to_its_output(
    kind: Kind, name: str, made: Callable[[nn.Linear], tuple[nn.Module, Tensor, Tensor | None]]
) -> None:
    sample = SAMPLES[kind.name][name]
    layer, weight, bias = made(sample.layer())
    record, x = kind.read(sample.draw(), sample.facts), sample.input()
    part = nn.ModuleDict({"q": layer})
    with torch.no_grad():
        if kind.parameter == "weight":
            gain = F.linear(x, record.delta(weight))
        else:
            gain = record.delta(torch.zeros(len(weight)) if bias is None else bias)
        before = layer(x)
        with Stack([(_adapter("a", {"q": record}, kind.parameter), 0.5)]).applied({"unet": part}) as applied:
            assert applied.summary.live == (made is _int8 or kind.parameter == "weight")
            found = layer(x)
        torch.testing.assert_close(found, before + 0.5 * gain, rtol=1e-3, atol=1e-3 * float(before.abs().max()))
        assert torch.equal(layer(x), before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", [_float8, _int8])
def test_a_quantised_layer_is_in_the_tree_with_its_shapes(made: Callable[[nn.Linear], tuple[nn.Module, ...]]) -> None:
    layer = made(nn.Linear(8, 6))[0]
    assert trees_of({"unet": nn.ModuleDict({"q": layer})})["unet"]["q"] == {"weight": (6, 8), "bias": (6,)}
    wrong = _adapter("a", {"q": Lora(up=torch.ones(7, 1), down=torch.ones(1, 8))})
    with pytest.raises(AdapterDoesNotFit, match="does not fit these parts"):
        Stack([(wrong, 1.0)]).needs(nn.ModuleDict({"q": layer}))
