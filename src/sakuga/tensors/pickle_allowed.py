"""The closed list of names that a pickled checkpoint may mention, and the inert records that stand for them.

Nothing here is ever imported or called by a file's wish: a name is answered with a record of ours, a "call" builds
another record. A name that is not in the list is refused, whatever it is; there is no list of bad names, because such
lists are never complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from sakuga.tensors.entry import BITS, TORCH_NAMES, countable


class Refused(ValueError):
    """Why a pickle is refused; becomes an UnreadableFile with the file's name."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """An allowed name, for example ``torch.FloatStorage``. Stands for the thing and cannot do anything."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Inert:
    """An object of an allowed class that carries no tensors of interest: kept as words, never brought to life."""

    what: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A run of ``count`` numbers of format ``dtype``; the container knows under ``key`` where its bytes are."""

    key: str
    dtype: str
    count: int

    @property
    def item_bytes(self) -> int:
        """Bytes of one number."""
        return BITS[self.dtype] // 8


@dataclass(frozen=True, kw_only=True)
class View:
    """A tensor as pickled: a window into a storage, checked to lie inside it. Counts are numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def reach(self) -> int:
        """How many numbers from ``offset`` on the window touches."""
        if not prod(self.shape):
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))

    @property
    def contiguous(self) -> bool:
        """Whether the numbers lie in reading order without gaps, so that the stride says nothing."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and step != expected:
                return not prod(self.shape)
            expected *= size
        return True


STORAGE_DTYPES: Mapping[str, str] = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
DTYPE_ATOMS = frozenset(TORCH_NAMES.values())
RANK_CAP = 16


def _view(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> View:
    """A tensor as torch pickles it: storage, offset, shape, stride (then gradient flags and hooks, of no interest)."""
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    if len(rest) > 3 or not _counts((offset,)) or not _counts(shape) or not _counts(stride):
        raise Refused("a tensor whose offset, shape or stride are not whole numbers")
    if len(shape) != len(stride) or len(shape) > RANK_CAP:
        raise Refused(f"a tensor with {len(shape)} sizes and {len(stride)} strides")
    if not countable(tuple(shape)):
        raise Refused(f"a tensor of shape {list(shape)}")
    view = View(storage=storage, offset=offset, shape=tuple(shape), stride=tuple(stride))
    if view.offset + view.reach > storage.count:
        raise Refused(f"a tensor of shape {list(shape)} that reaches beyond its storage of {storage.count} numbers")
    if prod(view.shape) > view.reach:
        raise Refused(f"a tensor of shape {list(shape)} that repeats its {view.reach} numbers")
    return view


def _counts(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and all(type(number) is int and 0 <= number < 2**48 for number in given)


def _parameter(data: Any, *rest: Any) -> View:
    if not isinstance(data, View) or len(rest) > 2:
        raise Refused("a parameter that is not a tensor")
    return data


def _ordered(*given: Any) -> dict[Any, Any]:
    """An ordered dict, empty or of pairs; filled afterwards by the pickle itself."""
    pairs = given[0] if given else []
    if len(given) > 1 or not isinstance(pairs, list):
        raise Refused("an ordered dict that is not made of pairs")
    made: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Refused("an ordered dict that is not made of pairs")
        made[key_of(pair[0])] = pair[1]
    return made


def _size(*given: Any) -> tuple[int, ...]:
    if len(given) != 1 or not _counts(given[0]):
        raise Refused("a torch.Size that is not made of whole numbers")
    return tuple(given[0])


def _text_bytes(text: Any = "", encoding: Any = "latin1", *rest: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1" or rest:
        raise Refused("bytes that are not written as torch writes them")
    return text.encode("latin1", "replace")


def _inert(what: str) -> Callable[..., Inert]:
    return lambda *given: Inert(what=what)


# What a "call" of an allowed name makes. Everything made is a record of ours or plain data.
MAKERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _size,
    ("torch", "device"): _inert("torch.device"),
    ("torch.nn.modules.container", "ParameterDict"): _inert("torch.nn.ParameterDict"),
    ("_codecs", "encode"): _text_bytes,
    ("numpy", "dtype"): _inert("numpy.dtype"),
    ("numpy.core.multiarray", "scalar"): _inert("numpy scalar"),
    ("numpy._core.multiarray", "scalar"): _inert("numpy scalar"),
    ("__builtin__", "set"): _inert("set"),
    ("builtins", "set"): _inert("set"),
}
# Classes that training programs use as a key or a value; only their name is kept.
CLASSES: frozenset[tuple[str, str]] = frozenset(
    {
        ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
        ("lightning.pytorch.callbacks.model_checkpoint", "ModelCheckpoint"),
    }
)


def allowed(module: Any, name: Any) -> Name:
    """The record for a global name. Raises Refused, naming it, if the closed list does not have it."""
    key = (module, name)
    known = (
        key in MAKERS
        or key in CLASSES
        or (module in ("torch", "torch.storage") and name in STORAGE_DTYPES)
        or (module == "torch" and name in DTYPE_ATOMS)
    )
    if not known:
        raise Refused(f"it asks for {module}.{name}")
    return Name(module=module, name=name)


def make(called: Any, arguments: Any) -> Any:
    """What an allowed name makes of ``arguments``. Raises Refused for anything else that a pickle wants to call."""
    if not isinstance(called, Name) or (called.module, called.name) not in MAKERS or not isinstance(arguments, tuple):
        raise Refused(f"it wants to call {called if isinstance(called, Name) else type(called).__name__}")
    try:
        return MAKERS[called.module, called.name](*arguments)
    except TypeError:
        raise Refused(f"it calls {called} with the wrong number of things") from None


def storage_of(pid: Any) -> Storage | Name:
    """The storage of a persistent id ``("storage", type, key, place, count)``, in both containers of torch.

    The older container writes classes so too, with their source text: ``("module", class, file, text)``.
    """
    match pid:
        case ("module", Name() as known, *_):
            return known
        case ("storage", Name(module="torch" | "torch.storage", name=kind), str() as key, str(), count, *view):
            if kind in STORAGE_DTYPES and _counts((count,)) and not any(part is not None for part in view):
                return Storage(key=key, dtype=STORAGE_DTYPES[kind], count=count)
    raise Refused("a reference to data that is not a storage of numbers")


def key_of(given: Any) -> Any:
    """A key of a dict: text, a number or an allowed name. Nothing else, so hashing never runs deep."""
    if isinstance(given, (str, int, float, bytes, Name)) or given is None:
        return given
    raise Refused(f"{type(given).__name__} as a key")
