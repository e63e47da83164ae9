"""The code of the guides runs: it is taken from the page as it stands there, and held to what it promises."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.contract import test_algorithms, test_formats
from tests.contract.algorithm_samples.sample import Sample
from torch import Tensor, nn

from sakuga.lora import algorithms, formats, plan
from sakuga.lora.formats import titles
from sakuga.lora.formats.dotted import Dotted

GUIDES = Path(__file__).resolve().parent.parent / "docs" / "guides"
BLOCK = re.compile(r"^```python (\w+)=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(guide: str) -> dict[str, tuple[str, str]]:
    """What a guide shows, by the word on the fence: (what stands behind it, the code)."""
    found = BLOCK.findall((GUIDES / guide).read_text(encoding="utf-8"))
    return {name if word == "name" else word: (name, code) for word, name, code in found}


def value_of(code: str, names: dict[str, Any]) -> Any:
    """The value of the last expression of ``code``, after what stands before it."""
    *before, last = ast.parse(code).body
    exec(compile(ast.Module(before, []), "guide", "exec"), names)
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "guide", "eval"), names)


def module_of(path: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file that a guide lets one write, imported under the name that it would have."""
    name = path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    file = folder / Path(path).name
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader and not (GUIDES.parents[1] / path).exists()
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def contracts(tests: ModuleType, *wanted: str) -> list[Callable[..., None]]:
    """The tests of a contract that are tried on each entry: those with these arguments."""
    found = [test for name, test in vars(tests).items() if name.startswith("test_")]
    return [test for test in found if set(wanted) <= set(test.__code__.co_varnames[: test.__code__.co_argcount])]


@pytest.fixture
def gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kind of the guide, in the table, with its samples."""
    shown = blocks_of("add-an-algorithm.md")
    module = module_of(*shown["file"], tmp_path, monkeypatch)
    (kind,) = value_of(f"({shown['table'][1].strip()})", {"gain": module})
    names = {"torch": torch, "nn": nn, "Sample": Sample}
    monkeypatch.setattr(algorithms, "ALGORITHMS", (*algorithms.ALGORITHMS, kind))
    samples = {**test_algorithms.SAMPLES, shown["sample"][0]: value_of(shown["sample"][1], names)}
    monkeypatch.setattr(test_algorithms, "SAMPLES", samples)
    return kind


@pytest.mark.parametrize("contract", contracts(test_algorithms, "kind", "name"), ids=lambda test: test.__name__)
@pytest.mark.parametrize("name", ["linear", "conv"])
def test_the_algorithm_of_the_guide_keeps_the_contract(gain: Any, contract: Callable[..., None], name: str) -> None:
    torch.manual_seed(0)
    given: list[dict[str, Any]] = [{}]
    if "way" in contract.__code__.co_varnames:
        given = [{"way": "delta"}, {"way": "beside"}]
    if "dtype" in contract.__code__.co_varnames[: contract.__code__.co_argcount]:
        given = [{"dtype": torch.float32}, {"dtype": torch.float16}]
    for more in given:
        contract(kind=gain, name=name, **more)


@pytest.fixture
def suffixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The layout of the guide, in the table, with its title and its sample."""
    shown = blocks_of("add-a-format.md")
    module = module_of(*shown["file"], tmp_path, monkeypatch)
    (layout,) = value_of(f"({shown['table'][1].strip()})", vars(module))
    marked = (layout, *formats._MARKED)
    table = (*marked, Dotted(marked))
    monkeypatch.setattr(formats, "FORMATS", table)
    monkeypatch.setattr(test_formats, "FORMATS", table)
    reader, rows = shown["titles"][0], value_of(shown["titles"][1], {})
    monkeypatch.setitem(titles.TITLES, reader, tuple((row[0], row[1], tuple(map(re.compile, row[2:]))) for row in rows))
    names: dict[str, Any] = {}
    exec(shown["spelling"][1], names)
    monkeypatch.setattr(test_formats, "SAMPLES", {**test_formats.SAMPLES, reader: {"own": names["spelling"]}})
    return layout


@pytest.mark.parametrize("contract", contracts(test_formats, "layout", "name"), ids=lambda test: test.__name__)
def test_the_layout_of_the_guide_keeps_the_contract(
    suffixes: Any, contract: Callable[..., None], tmp_path: Path
) -> None:
    contract(tmp_path, layout=suffixes.name, name="own")


def test_the_layout_of_the_guide_claims_no_other_s_samples(suffixes: Any, tmp_path: Path) -> None:
    test_formats.test_every_format_has_samples()
    for layout, name in test_formats.CASES:
        test_formats.test_a_sample_is_known_to_its_own_format_and_to_no_other(tmp_path, layout, name)


def tiny() -> Mapping[str, nn.Module]:
    """A UNet and a text encoder as diffusers and transformers build them, with random weights."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=1,
        eos_token_id=2,
    )
    return {"unet": unet.eval(), "text_encoder": CLIPTextModel(config).eval()}


def kohya(parts: Mapping[str, nn.Module], seed: int) -> dict[str, Tensor]:
    """A random LoRA for every Linear and convolution."""
    chance, found = torch.Generator().manual_seed(seed), {}
    for part, prefix in (("unet", "lora_unet_"), ("text_encoder", "lora_te_")):
        for name, module in parts[part].named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                if part == "text_encoder":
                    name = "text_model." + name.removeprefix("text_model.")
                rows, *columns = module.weight.shape
                stem = prefix + name.replace(".", "_")
                found[f"{stem}.lora_down.weight"] = 0.1 * torch.randn(2, *columns, generator=chance)
                found[f"{stem}.lora_up.weight"] = 0.1 * torch.randn(
                    rows, 2, *(1 for _ in columns[1:]), generator=chance
                )
    return found


@torch.no_grad()
def test_lora_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    parts = tiny()
    for seed, name in enumerate(("ink", "celcomic")):
        save_file(kohya(parts, seed), tmp_path / f"{name}.safetensors")
    (tmp_path / "unet").mkdir()
    save_file(parts["unet"].state_dict(), tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    before = {f"{part}.{key}": tensor.clone() for part in parts for key, tensor in parts[part].state_dict().items()}
    words, latents, timestep = torch.arange(6)[None], torch.randn(6, 4, 8, 8), torch.tensor(300)

    def draw() -> Tensor:
        texts = parts["text_encoder"](words).last_hidden_state
        return parts["unet"](latents[:1], timestep, encoder_hidden_states=texts).sample

    plain, texts = draw(), torch.randn(6, 5, 16)
    names: dict[str, Any] = {
        "pipeline": SimpleNamespace(components={**parts, "tokenizer": None, "scheduler": object()}),
        "draw": draw,
        "folder": tmp_path,
        "unet": parts["unet"],
        "latents": latents,
        "timestep": timestep,
        "texts": texts,
    }
    monkeypatch.chdir(tmp_path)
    shown = blocks_of("lora-in-python.md")
    for block in ("apply", "blocks", "rows"):
        exec(shown[block][1], names)
    assert re.fullmatch(r"ink: kohya, (\d+) of \1 keys used\n", capsys.readouterr().out)
    count = sum(isinstance(module, nn.Linear | nn.Conv2d) for module in parts["unet"].modules())
    for free, said in ((1 << 40, "kept copy, for there is room for it"), (1 << 16, "reread from the file, for .*")):
        with monkeypatch.context() as patch:
            patch.setattr(plan, "free_bytes", lambda device, free=free: free)
            exec(shown["reread"][1], names)
        assert re.fullmatch(rf"{count} tensors, \d+ bytes: {said}\n", capsys.readouterr().out)
        assert not torch.allclose(names["third"], plain, atol=1e-4)
    first, second = names["first"], names["second"]
    assert all(not torch.allclose(a, b, atol=1e-4) for a, b in ((first, plain), (second, plain), (first, second)))
    assert torch.equal(names["after"], plain)
    whole = {f"{part}.{key}": tensor for part in parts for key, tensor in parts[part].state_dict().items()}
    assert all(torch.equal(tensor, before[key]) for key, tensor in whole.items())

    alone = parts["unet"](latents, timestep, encoder_hidden_states=texts).sample
    with names["Stack"]([(names["ink"], names["StackWeight"](text_encoder=0))]).applied(
        {"unet": parts["unet"]}
    ) as applied:
        full = parts["unet"](latents, timestep, encoder_hidden_states=texts).sample
        applied.set([names["only_mid"]])
        mid = parts["unet"](latents, timestep, encoder_hidden_states=texts).sample
    noise = names["noise"]
    assert torch.allclose(noise[[0, 3, 4, 5]], alone[[0, 3, 4, 5]], atol=1e-6)
    assert torch.allclose(noise[2], full[2], atol=1e-5) and not torch.allclose(noise[1], full[1], atol=1e-4)
    assert not torch.allclose(mid, alone, atol=1e-6) and not torch.allclose(mid, full, atol=1e-4)
