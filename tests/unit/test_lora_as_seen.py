"""What users of other tools saw with files in unusual spellings, one test each, named after what they saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit
from sakuga.lora.adapter import Adapter
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.read import read_adapter
from sakuga.lora.survey import survey
from sakuga.tensors.file import TensorFile
from sakuga.tensors.names import NameMap

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
ATTENTION = [f"{BLOCK}.attn{n}.to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out.0")]
TEXT = [f"encoder.layers.0.self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
LAYER = {"weight": (6, 8)}
NAMES = NameMap.of({"unet": dict.fromkeys(ATTENTION, LAYER), "text_encoder": dict.fromkeys(TEXT, LAYER)})


def _pair(stem: str, rank: int = 2, alpha: float | None = None) -> dict[str, Tensor]:
    made = {f"{stem}.lora_down.weight": torch.randn(rank, 8), f"{stem}.lora_up.weight": torch.randn(6, rank)}
    return made if alpha is None else {**made, f"{stem}.alpha": torch.tensor(alpha)}


def _stem(module: str) -> str:
    return "lora_unet_" + module.replace(".", "_")


def _read(folder: Path, tensors: Mapping[str, Tensor], names: NameMap = NAMES) -> Adapter:
    save_file(dict(tensors), folder / "style.safetensors")
    return read_adapter(TensorFile.open(folder / "style.safetensors"), names, "style")


def _scales(adapter: Adapter) -> dict[str, float]:
    return {patch.module: patch.record.scale for patch in adapter.patches if isinstance(patch.record, Lora)}


def test_attention_layers_got_the_most_common_alpha_instead_of_their_own(tmp_path: Path) -> None:
    tensors = {}
    for n, module in enumerate(ATTENTION):
        tensors |= _pair(_stem(module), rank=2, alpha=2.0 if n < 6 else 0.5)
    scales = _scales(_read(tmp_path, tensors))
    assert [scales[module] for module in ATTENTION] == [1.0] * 6 + [0.25] * 2


def test_a_layer_without_alpha_inherited_that_of_the_others(tmp_path: Path) -> None:
    tensors = _pair(_stem(ATTENTION[0]), rank=4) | _pair(_stem(ATTENTION[1]), rank=4, alpha=1.0)
    scales = _scales(_read(tmp_path, tensors))
    assert [scales[module] for module in ATTENTION[:2]] == [1.0, 0.25]


def test_the_alpha_of_a_final_layer_was_ignored(tmp_path: Path) -> None:
    trees = {"transformer": {name: LAYER for name in ("single_transformer_blocks.0.proj_mlp", "proj_out")}}
    adapter = _read(tmp_path, _pair("lora_unet_final_layer_linear", rank=4, alpha=1.0), NameMap.of(trees))
    assert _scales(adapter) == {"proj_out": 0.25}


def test_a_text_encoder_of_q_k_and_v_alone_could_not_be_inferred(tmp_path: Path) -> None:
    tensors = {}
    for module in TEXT[:3]:
        tensors |= _pair(f"lora_te_text_model_{module.replace('.', '_')}", alpha=1.0)
    assert set(_scales(_read(tmp_path, tensors))) == set(TEXT[:3])


@pytest.mark.parametrize("level", ["", "text_model."])
@pytest.mark.parametrize("prefix", ["lora_te_text_model_", "lora_te1_text_model_"])
def test_te1_matched_nothing_after_an_update_of_transformers(tmp_path: Path, level: str, prefix: str) -> None:
    names = NameMap.of({"text_encoder": {level + module: LAYER for module in TEXT}})
    adapter = _read(tmp_path, _pair(prefix + TEXT[0].replace(".", "_")), names)
    assert [patch.module for patch in adapter.patches] == [level + TEXT[0]]


def test_text_encoder_2_was_loaded_into_text_encoder(tmp_path: Path) -> None:
    names = NameMap.of({"text_encoder": {TEXT[0]: LAYER}, "text_encoder_2": {TEXT[0]: LAYER}})
    for component in ("text_encoder", "text_encoder_2"):
        (patch,) = _read(tmp_path, _pair(f"{component}.text_model.{TEXT[0]}"), names).patches
        assert patch.component == component
    for number, component in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2")):
        (patch,) = _read(tmp_path, _pair(f"text_encoders.{number}.transformer.{TEXT[0]}"), names).patches
        assert patch.component == component
    with pytest.raises(AdapterDoesNotFit, match="text_encoder and text_encoder_2 both have it"):
        _read(tmp_path, _pair(TEXT[0]), names)


def test_a_folder_called_default_or_processor_chose_another_reader(tmp_path: Path) -> None:
    names = NameMap.of({"unet": {"default.processor_x.img_attn_qkv": LAYER}})
    adapter = _read(tmp_path, _pair("unet.default.processor_x.img_attn_qkv", alpha=1.0), names)
    assert (adapter.layout, adapter.used_keys) == ("diffusers (PEFT)", 3)


def test_the_alpha_in_the_file_goes_before_that_of_a_config(tmp_path: Path) -> None:
    tensors = {f"base_model.model.{key}": value for key, value in _pair(ATTENTION[0], rank=4, alpha=1.0).items()}
    tensors |= {f"base_model.model.{key}": value for key, value in _pair(ATTENTION[1], rank=4).items()}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8}))
    adapter = read_adapter(TensorFile.open(tmp_path / "adapter_model.safetensors"), NAMES, "a")
    scales = _scales(adapter)
    assert [scales[module] for module in ATTENTION[:2]] == [0.25, 2.0]


def test_q_k_and_v_of_a_dense_fused_layer_were_cut_by_rank(tmp_path: Path) -> None:
    parts = [f"transformer_blocks.0.attn.to_{x}" for x in "qkv"]
    square = {"weight": (8, 8)}
    trees = {"transformer": {name: square for name in (*parts, "single_transformer_blocks.0.proj_mlp")}}
    up, down = torch.randn(24, 6), torch.randn(6, 8)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    adapter = _read(tmp_path, tensors, NameMap.of(trees))
    whole = up.double() @ down.double()
    for n, part in enumerate(parts):
        (patch,) = (patch for patch in adapter.patches if patch.module == part)
        delta = patch.record.delta(torch.zeros(8, 8)).double()
        assert (delta - whole[8 * n : 8 * n + 8]).norm() <= 1e-6 * whole.norm()


def test_a_whole_layer_and_a_part_of_it_in_one_file_are_refused_together(tmp_path: Path) -> None:
    names = NameMap.of({"transformer": {"double_blocks.0.img_attn.qkv": {"weight": (24, 8)}}})
    fused = {"double_blocks.0.img_attn.qkv.lora_up.weight": torch.randn(24, 2)}
    fused["double_blocks.0.img_attn.qkv.lora_down.weight"] = torch.randn(2, 8)
    part = {"transformer_blocks.0.attn.to_k.lora_up.weight": torch.randn(8, 2)}
    part["transformer_blocks.0.attn.to_k.lora_down.weight"] = torch.randn(2, 8)
    (patch,) = _read(tmp_path, part, names).patches
    assert patch.into == (8, 16)
    with pytest.raises(AdapterDoesNotFit) as caught:
        _read(tmp_path, fused | part, names)
    assert str(caught.value).count("two of its names mean double_blocks.0.img_attn.qkv: ") == 1


class CrossAttention(nn.Module):
    """As diffusers had it in December 2022, for its order alone."""

    def __init__(self, wide: int, context: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(wide, wide, bias=False)
        self.to_k = nn.Linear(context, wide, bias=False)
        self.to_v = nn.Linear(context, wide, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(wide, wide)])


class GEGLU(nn.Module):
    """The gate of the feed-forward net."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.proj = nn.Linear(wide, 8 * wide)


class ResnetBlock2D(nn.Module):
    """A resnet."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide, wide, 3)
        self.time_emb_proj = nn.Linear(12, wide)
        self.conv2 = nn.Conv2d(wide, wide, 3)


class Old(nn.Module):
    """A UNet of 2022: two levels; attentions are registered before resnets, the middle block last."""

    def __init__(self) -> None:
        super().__init__()

        def transformer(wide: int) -> nn.Module:
            block, ff = nn.Module(), nn.Module()
            ff.net = nn.ModuleList([GEGLU(wide), nn.Module(), nn.Linear(4 * wide, wide)])
            block.attn1, block.ff, block.attn2 = CrossAttention(wide, wide), ff, CrossAttention(wide, 10)
            outer = nn.Module()
            outer.proj_in = nn.Conv2d(wide, wide, 1)
            outer.transformer_blocks = nn.ModuleList([block])
            return outer

        def level(wide: int, count: int) -> nn.Module:
            made = nn.Module()
            made.attentions = nn.ModuleList([transformer(wide) for _ in range(count)])
            made.resnets = nn.ModuleList([ResnetBlock2D(wide) for _ in range(count)])
            return made

        self.conv_in = nn.Conv2d(4, 4, 3)
        self.down_blocks = nn.ModuleList([level(4, 1), level(6, 1)])
        self.up_blocks = nn.ModuleList([level(6, 2), level(4, 2)])
        self.mid_block = level(6, 1)


def _met(model: nn.Module, ancestors: set[str], kinds: tuple[type[nn.Module], ...]) -> list[str]:
    """The layers in the order in which cloneofsimo's trainer met them."""
    return [
        f"{outer}.{inner}"
        for outer, ancestor in model.named_modules()
        if type(ancestor).__name__ in ancestors
        for inner, layer in ancestor.named_modules()
        if isinstance(layer, kinds)
    ]


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("container", ["safetensors", "list"])
def test_row_38_cloneofsimo_files_by_their_order(tmp_path: Path, extended: bool, container: str) -> None:
    model = Old()
    ancestors = {"CrossAttention", "Attention", "GEGLU"} | ({"ResnetBlock2D"} if extended else set())
    order = _met(model, ancestors, (nn.Linear, nn.Conv2d) if extended else (nn.Linear,))
    shapes = {name: tuple(layer.weight.shape) for name, layer in model.named_modules() if hasattr(layer, "weight")}
    todays = sorted(shapes)  # the order of the model at hand is another one
    names = NameMap.of({"unet": {name: {"weight": shapes[name]} for name in todays}})
    pairs = [(torch.randn(shapes[m][0], 2, *[1] * (len(shapes[m]) - 2)), torch.randn(2, *shapes[m][1:])) for m in order]
    if container == "list":
        torch.save([factor for pair in pairs for factor in pair], tmp_path / "lora.pt")
        file = TensorFile.open(tmp_path / "lora.pt")
    else:
        tensors = {
            f"unet:{n}:{leaf}": x for n, pair in enumerate(pairs) for leaf, x in zip(("up", "down"), pair, strict=True)
        }
        tensors["<krk>"] = torch.randn(8)
        metadata = {"unet": json.dumps(sorted(ancestors)), "<krk>": "<embed>", "unet:0:rank": "2"}
        save_file(tensors, tmp_path / "lora.safetensors", metadata)
        file = TensorFile.open(tmp_path / "lora.safetensors")
    adapter = read_adapter(file, names, "a")
    ups = {patch.module: patch.record.up for patch in adapter.patches if isinstance(patch.record, Lora)}
    assert (adapter.layout, set(ups)) == ("cloneofsimo", set(order))
    assert all(torch.equal(ups[module], up) for module, (up, _) in zip(order, pairs, strict=True))
    assert adapter.embeddings == ({} if container == "list" else {"<krk>": {"emb_params": "<krk>"}})
    assert adapter.used_keys == adapter.total_keys


def test_row_38_a_list_for_another_model_is_refused_at_the_first_pair(tmp_path: Path) -> None:
    model = Old()
    order = _met(model, {"CrossAttention", "GEGLU"}, (nn.Linear,))
    names = NameMap.of(
        {"unet": {n: {"weight": tuple(m.weight.shape)} for n, m in model.named_modules() if hasattr(m, "weight")}}
    )
    pairs = [torch.randn(shape) for m in order for shape in ((names.trees["unet"][m]["weight"][0], 2), (2, 99))]
    for content, said in ((pairs, "pair 0 changes a weight of [4, 99]"), (pairs[:6], "its 3 pairs have only their")):
        torch.save(content, tmp_path / "lora.pt")
        with pytest.raises(AdapterDoesNotFit) as caught:
            read_adapter(TensorFile.open(tmp_path / "lora.pt"), names, "a", allow_partial=True)
        assert said in str(caught.value)


class Counted:
    """A header of very many keys that counts what it is asked."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.path, self._names, self.asked = Path("x.safetensors"), names, Counter[str]()
        self.metadata: Mapping[str, str] = {}
        self.extras: Mapping[str, object] = {}

    @property
    def names(self) -> tuple[str, ...]:
        self.asked["names"] += 1
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        self.asked["shape"] += 1
        return (2, 8) if name.endswith("down.weight") else (6, 2)

    def dtype(self, name: str) -> str:
        self.asked["dtype"] += 1
        return "F32"

    def tensor(self, name: str) -> Tensor:
        raise AssertionError(name)


@pytest.mark.parametrize(
    "form", ["lora_unet_x_{}.lora_{}.weight", "unet.x.{}.lora_{}.weight", "x{}.processor.to_q_lora.{}.weight"]
)
def test_a_file_of_very_many_keys_is_looked_at_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NameMap, "nearest", lambda self, name: pytest.fail("the nearest name of a key was looked for"))
    file = Counted(tuple(form.format(n, leaf) for n in range(10_000) for leaf in ("down", "up")))
    found = survey(file, NAMES)
    assert (found.used_keys, len(found.leftovers())) == (0, 20_000)
    assert file.asked["names"] < 50
    assert file.asked["shape"] <= 40_000
    assert file.asked["dtype"] <= 40_000
