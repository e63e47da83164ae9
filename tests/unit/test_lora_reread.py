"""Pristine bytes that are read from the file again: the same bits as with kept copies, and nothing lost in silence.

The long random walks with files beside those with copies are in ``test_lora_stack_exact.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sakuga.errors import AdapterDoesNotFit, SakugaError
from sakuga.lora import making, plan
from sakuga.lora.adapter import Adapter, Patch
from sakuga.lora.algorithms import Algorithm
from sakuga.lora.algorithms.full import Full
from sakuga.lora.algorithms.lora import Lora
from sakuga.lora.carrying import spoiled
from sakuga.lora.origin import Origin, origin_of
from sakuga.lora.stack import Stack, StackWeight

OFF = StackWeight(unet=0.0)


def _adapter(name: str, **records: Algorithm) -> Adapter:
    patches = tuple(
        Patch(component="unet", module=module, record=record, keys=(module,)) for module, record in records.items()
    )
    common = {"name": name, "path": Path(f"{name}.safetensors"), "sha256": name, "family": None, "layout": "kohya"}
    return Adapter(**common, metadata={}, patches=patches, leftovers=(), total_keys=len(patches))


def _lora(out: int = 6, features: int = 8) -> Lora:
    return Lora(up=torch.randn(out, 2), down=torch.randn(2, features))


def _unet(dtype: torch.dtype = torch.float32) -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({name: nn.Linear(8, 6) for name in "abc"}).requires_grad_(False).to(dtype)


def _bits(part: nn.Module) -> list[tuple[int, int, bytes]]:
    return [
        (id(own), own.data_ptr(), own.detach().contiguous().view(torch.uint8).numpy().tobytes())
        for own in part.parameters()
    ]


@pytest.fixture
def unet() -> nn.ModuleDict:
    return _unet()


@pytest.fixture
def path(unet: nn.ModuleDict, tmp_path: Path) -> Path:
    """The file of ``unet``."""
    save_file(unet.state_dict(), tmp_path / "unet.safetensors")
    return tmp_path / "unet.safetensors"


@pytest.fixture
def origin(path: Path) -> Origin:
    return origin_of({"unet": path})


@pytest.fixture
def stack() -> Stack:
    torch.manual_seed(2)
    return Stack([(_adapter("ink", a=_lora(), b=_lora(), c=Full(diff=torch.randn(6, 8))), 1.0)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("stored", [torch.float32, torch.float16], ids=str)
def test_a_file_of_another_number_format_gives_the_bits_that_were_loaded(
    tmp_path: Path, dtype: torch.dtype, stored: torch.dtype, stack: Stack
) -> None:
    file = {key: own.to(stored) for key, own in _unet().state_dict().items()}
    file["a.weight"][0, :3] = torch.tensor([-0.0, torch.inf, torch.nan])
    save_file(file, tmp_path / "unet.safetensors")
    unet = _unet(dtype)
    unet.load_state_dict({key: own.to(dtype) for key, own in file.items()}, assign=True)
    before, origin = _bits(unet), origin_of({"unet": [tmp_path / "unet.safetensors"]})
    with stack.applied(unet) as applied:
        applied.set([StackWeight(unet=0.5)])
        kept = [own for _, _, own in _bits(unet)]
    assert _bits(unet) == before
    with stack.applied(unet, origin=origin, reread=True) as applied:
        applied.set([StackWeight(unet=-2.0)])
        applied.set([StackWeight(unet=0.5)])
        assert [own for _, _, own in _bits(unet)] == kept
        assert unet["a"].weight.data_ptr() == before[0][1], "it was changed in its own memory"
    assert _bits(unet) == before


@pytest.mark.parametrize("made", ["in inference mode", "in inference mode, moved outside", "outside"])
def test_inference_tensors_and_channels_last_are_changed_where_they_are(tmp_path: Path, made: str) -> None:
    with torch.inference_mode(made != "outside"):
        unet = nn.ModuleDict({"conv": nn.Conv2d(4, 6, 3)}).requires_grad_(False)
    with torch.inference_mode(made == "in inference mode"):
        unet = unet.to(memory_format=torch.channels_last)
    save_file({key: own.contiguous() for key, own in unet.state_dict().items()}, tmp_path / "unet.safetensors")
    before, strides = _bits(unet), unet["conv"].weight.stride()
    stack = Stack([(_adapter("ink", conv=Lora(up=torch.randn(6, 2, 1, 1), down=torch.randn(2, 4, 3, 3))), 1.0)])
    with stack.applied(unet):
        kept = unet["conv"].weight.clone()
    with stack.applied(unet, origin=origin_of({"unet": tmp_path / "unet.safetensors"}), reread=True) as applied:
        assert torch.equal(unet["conv"].weight, kept)
        assert applied.summary.fresh_bytes == 0
    assert _bits(unet) == before and unet["conv"].weight.stride() == strides


def test_an_adapter_whose_changes_are_zero_leaves_the_sign_of_zeros(unet: nn.ModuleDict, tmp_path: Path) -> None:
    unet["a"].weight[0, 0] = -0.0
    save_file(unet.state_dict(), tmp_path / "unet.safetensors")
    before = _bits(unet)
    none = Stack([(_adapter("none", a=Lora(up=torch.zeros(6, 2), down=torch.ones(2, 8))), 1.0)])
    with none.applied(unet, origin=origin_of({"unet": tmp_path / "unet.safetensors"}), reread=True) as applied:
        assert _bits(unet) == before
        assert applied.summary.tensors == 0


def test_large_weights_in_threads_are_the_same(tmp_path: Path) -> None:
    unet = nn.ModuleDict({name: nn.Linear(1024, 1100) for name in "abc"}).requires_grad_(False)
    save_file(unet.state_dict(), tmp_path / "unet.safetensors")
    before, threads = _bits(unet), torch.get_num_threads()
    stack = Stack([(_adapter("ink", **{name: _lora(1100, 1024) for name in "abc"}), 0.5)])
    try:
        torch.set_num_threads(3)
        with stack.applied(unet):
            kept = [own for _, _, own in _bits(unet)]
        with stack.applied(unet, origin=origin_of({"unet": tmp_path / "unet.safetensors"}), reread=True):
            assert [own for _, _, own in _bits(unet)] == kept
    finally:
        torch.set_num_threads(threads)
    assert _bits(unet) == before


def test_the_plan_rereads_what_has_no_room_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unet = nn.ModuleDict({name: nn.Linear(1024, 512) for name in "abc"}).requires_grad_(False)
    file = {key: own for key, own in unet.state_dict().items() if not key.startswith("c")}
    save_file(file, tmp_path / "unet.safetensors")
    origin = origin_of({"unet": tmp_path / "unet.safetensors"})
    stack = Stack([(_adapter("ink", **{name: _lora(512, 1024) for name in "abc"}), 1.0)])
    with stack.applied(unet, origin=origin) as applied:
        (kept,) = applied.summary.back
        assert (kept.way, kept.why, kept.tensors, kept.nbytes) == ("kept copy", "there is room for it", 3, 6 * 2**20)
    monkeypatch.setattr(plan, "free_bytes", lambda device: 5 * 2**20)
    with stack.applied(unet, origin=origin) as applied:
        assert [(one.way, one.why, one.tensors, one.nbytes) for one in applied.summary.back] == [
            ("reread from the file", "6 MiB of second copies do not fit in the 5 MiB that are free on cpu", 2, 2**22),
            ("kept copy", "its file is not known", 1, 2**21),
        ]
        assert applied.summary.fresh_bytes == 2**21
    monkeypatch.setattr(plan, "free_bytes", lambda device: 3 * 2**20)  # one copy and what is read at a time take 4
    with pytest.raises(SakugaError, match="not enough memory"), stack.applied(unet, origin=origin):
        pytest.fail("it was applied")


def test_reread_without_an_origin_is_an_error(unet: nn.ModuleDict, stack: Stack) -> None:
    with pytest.raises(SakugaError, match="nobody says from where"), stack.applied(unet, reread=True):
        pytest.fail("it was applied")


@pytest.mark.parametrize("what", ["another file", "a changed part", "another shape", "no file"])
def test_what_is_not_that_of_the_file_is_refused_before_anything_changes(
    what: str, unet: nn.ModuleDict, path: Path, origin: Origin, stack: Stack
) -> None:
    if what == "another file":
        save_file({key: own + (key == "b.weight") for key, own in unet.state_dict().items()}, path)
    elif what == "a changed part":
        unet["b"].weight[0, 0] += 1
    elif what == "another shape":
        origin = lambda component, module, parameter: unet[module].weight.reshape(8, 6)  # noqa: E731
    else:
        path.unlink()
    before = _bits(unet)
    with pytest.raises(SakugaError) as caught, stack.applied(unet, origin=origin, reread=True):
        pytest.fail("it was applied")
    assert _bits(unet) == before
    said = {"another shape": "unet.a, unet.b, unet.c", "no file": "unet.a.weight: FileNotFoundError"}
    assert caught.value.given is not None and caught.value.given.startswith(said.get(what, "unet.b"))
    with stack.applied(unet):  # with kept copies nobody needs the file
        assert _bits(unet) != before


def test_a_weight_that_is_written_between_its_changes_is_not_overwritten(
    unet: nn.ModuleDict, origin: Origin, stack: Stack
) -> None:
    with stack.applied(unet, origin=origin, reread=True) as applied:
        applied.set([OFF])
        unet["b"].weight.add_(1)
        changed = _bits(unet)
        with pytest.raises(SakugaError, match="not those of their file") as caught:
            applied.set([StackWeight(unet=1.0)])
        assert caught.value.given == "unet.b"
        assert _bits(unet) == changed
    assert _bits(unet) == changed


def test_a_file_that_is_replaced_meanwhile_is_told_and_never_used(
    unet: nn.ModuleDict, path: Path, origin: Origin, stack: Stack
) -> None:
    file, before = {key: own.clone() for key, own in unet.state_dict().items()}, _bits(unet)
    with (
        pytest.raises(SakugaError, match="weights are still changed") as caught,
        stack.applied(unet, origin=origin, reread=True),
    ):
        at_work = _bits(unet)
        save_file({key: own + (key == "b.weight") for key, own in file.items()}, path)
    assert caught.value.given == "unet.b (unet.b.weight: it holds other numbers than before)"
    assert [one == other for one, other in zip(_bits(unet), before, strict=True)] == [key != "b.weight" for key in file]
    assert _bits(unet)[2] == at_work[2]
    assert spoiled({"unet": unet, "other": _unet()}) == ["unet"]
    with pytest.raises(SakugaError, match="could not be taken back"), stack.applied(unet):
        pytest.fail("a changed weight was taken for a pristine one")
    unet.load_state_dict(file)
    with stack.applied(unet):
        assert not spoiled({"unet": unet})
    assert [own for _, _, own in _bits(unet)] == [own for _, _, own in before]


def test_a_file_that_is_away_for_a_time_is_told_and_then_serves_again(
    unet: nn.ModuleDict, path: Path, origin: Origin, stack: Stack
) -> None:
    before, away = _bits(unet), path.with_suffix(".away")
    with stack.applied(unet, origin=origin, reread=True) as applied:
        at_work = _bits(unet)
        path.rename(away)
        for weight in (StackWeight(unet=2.0), OFF):
            with pytest.raises(SakugaError, match="weights are still changed") as caught:
                applied.set([weight])
            assert "unet.a, unet.b, unet.c (" in str(caught.value)
        away.rename(path)
        applied.set([OFF])
        assert _bits(unet) == before
        applied.set([StackWeight(unet=1.0)])
        assert _bits(unet) == at_work
        path.rename(away)
        with pytest.raises(SakugaError):
            applied.set([OFF])
        away.rename(path)
    assert _bits(unet) == before
    assert not spoiled({"unet": unet})


def test_a_sum_beyond_the_format_is_refused_and_read_back(tmp_path: Path) -> None:
    unet = _unet(torch.float16)
    save_file(unet.state_dict(), tmp_path / "unet.safetensors")
    before, origin = _bits(unet), origin_of({"unet": tmp_path / "unet.safetensors"})
    stack = Stack([(_adapter("ink", a=_lora(), b=Full(diff=torch.full((6, 8), 7e4))), 0.5)])
    with stack.applied(unet, origin=origin, reread=True) as applied:
        with pytest.raises(AdapterDoesNotFit, match="beyond the range"):
            applied.set([StackWeight(unet=1.0)])
        assert _bits(unet) == before
    assert _bits(unet) == before


def test_a_second_interrupt_does_not_let_threads_write_over_what_was_read_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unet = nn.ModuleDict({name: nn.Linear(1024, 1100) for name in "abcd"}).requires_grad_(False)
    save_file(unet.state_dict(), tmp_path / "unet.safetensors")
    before, threads, make = _bits(unet), torch.get_num_threads(), making.fused
    pool, calls = making.ThreadPoolExecutor, []

    class Impatient(pool):  # type: ignore[valid-type, misc]
        def shutdown(self, *words: bool, **more: bool) -> None:
            calls.append(0)
            if len(calls) == 1:
                raise KeyboardInterrupt
            super().shutdown(*words, **more)

    def interrupted(pristine: Tensor, *words: object) -> bool:
        if pristine.data_ptr() == unet["a"].weight.data_ptr():
            raise KeyboardInterrupt
        return make(pristine, *words)

    monkeypatch.setattr(making, "fused", interrupted)
    monkeypatch.setattr(making, "ThreadPoolExecutor", Impatient)
    stack = Stack([(_adapter("ink", **{name: _lora(1100, 1024) for name in "abcd"}), 1.0)])
    origin = origin_of({"unet": tmp_path / "unet.safetensors"})
    try:
        torch.set_num_threads(3)
        with pytest.raises(KeyboardInterrupt), stack.applied(unet, origin=origin, reread=True):
            pytest.fail("it was applied")
    finally:
        torch.set_num_threads(threads)
    assert len(calls) == 2
    assert _bits(unet) == before
