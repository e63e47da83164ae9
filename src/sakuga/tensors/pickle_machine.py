"""The reader of pickles that executes nothing: a small machine of our own that walks over the opcodes.

Python's unpickler imports names and calls them; this one has neither ability. It keeps plain data and the inert records
of ``pickle_allowed``, and refuses every opcode, name and call that a checkpoint of tensors does not need. Nothing is
recursive, no size in the file is believed before it is checked, and the stack cannot run away.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, Protocol

from sakuga.tensors.pickle_allowed import Inert, Name, Refused, Storage, allowed, key_of, make, storage_of

OPCODE_CAP = 2_000_000  # what they make takes some hundred megabytes at most, and a few seconds


class Source(Protocol):
    """Bytes that are read forwards: an mmap, or a BytesIO. A read beyond the end gives fewer bytes, never memory."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


class _Mark:
    """A place on the stack."""


MARK = _Mark()
OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
TEXTS = ("BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
LITERALS = frozenset((*NUMBERS, *TEXTS, "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"))


class Machine:
    """One pass over one pickle. ``run`` gives its value and leaves the source right behind it."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, source: Source) -> Any:
        """The value. Raises Refused for whatever is not plain data of an allowed kind."""
        try:
            for _ in range(OPCODE_CAP):
                opcode = OPCODES.get(source.read(1))
                if opcode is None:
                    raise Refused("it is cut off or garbled: no opcode where one should be")
                if opcode.name == "STOP":
                    return self._pop()
                if opcode.name not in LITERALS and opcode.name not in CONSTANTS and opcode.name not in _STEPS:
                    raise Refused(f"it uses the opcode {opcode.name}")
                self._step(opcode.name, _argument(opcode, source))
        except Refused:
            raise
        except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
            raise Refused(f"it is cut off or garbled: {error}") from None
        raise Refused("it has too many parts")

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        else:
            _STEPS[opcode](self, argument)

    def _pop(self) -> Any:
        if not self.stack:
            raise Refused("it takes from an empty stack")
        top = self.stack.pop()
        if top is MARK:
            raise Refused("it takes a mark for a value")
        return top

    def _drop(self) -> None:
        if not self.stack:
            raise Refused("it takes from an empty stack")
        self.stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self.stack.append(value)
        return value

    def _since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise Refused("it looks for a mark that is not there")

    def _tuple(self, count: int) -> None:
        parts = [self._pop() for _ in range(count)]
        self.stack.append(tuple(reversed(parts)))

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise Refused("it appends to what is not a list")
        target.extend(values)

    def _set_items(self, flat: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(flat) % 2:
            raise Refused("it sets items of what is not a dict")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[key_of(key)] = value

    def _dict(self, flat: list[Any]) -> None:
        self.stack.append({})
        self._set_items(flat)

    def _put(self, index: Any) -> None:
        self.memo[len(self.memo) if index is None else int(index)] = self._top()

    def _reduce(self, _: Any) -> None:
        arguments = self._pop()
        self.stack.append(make(self._pop(), arguments))

    def _global(self, argument: Any) -> None:
        if argument is None:
            name = self._pop()
            module = self._pop()
        else:
            module, _, name = argument.partition(" ")
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("it asks for a name that is not text")
        self.stack.append(allowed(module, name))

    def _persistent(self, _: Any) -> None:
        storage = storage_of(self._pop())
        if isinstance(storage, Name):
            self.stack.append(storage)
            return
        known = self.storages.setdefault(storage.key, storage)
        if known.dtype != storage.dtype or known.count != storage.count:
            raise Refused(f"it describes the storage {storage.key!r} in two ways")
        self.stack.append(storage)

    def _build(self, _: Any) -> None:
        """State for the object on top: kept beside an inert record, of no interest for a dict, refused for the rest."""
        state, target = self._pop(), self._top()
        if isinstance(target, Inert):
            if isinstance(state, dict):
                target.state.update((str(key), value) for key, value in state.items())
        elif not isinstance(target, dict):
            raise Refused(f"it sets the state of {target if isinstance(target, Name) else type(target).__name__}")


def _argument(opcode: pickletools.OpcodeInfo, source: Source) -> Any:
    """What stands behind an opcode. Raises ValueError when it is cut off."""
    if opcode.name == "GLOBAL":
        lines = [source.readline() for _ in range(2)]
        if not all(line.endswith(b"\n") for line in lines):
            raise ValueError("a name without an end")
        return " ".join(line[:-1].decode("utf-8") for line in lines)
    return None if opcode.arg is None else opcode.arg.reader(source)  # type: ignore[arg-type]


def _two(machine: Machine) -> list[Any]:
    value = machine._pop()
    return [machine._pop(), value]


_STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "MARK": lambda m, a: m.stack.append(MARK),
    "POP": lambda m, a: m._drop(),
    "POP_MARK": lambda m, a: m._since_mark().clear(),
    "DUP": lambda m, a: m.stack.append(m._top()),
    "EMPTY_TUPLE": lambda m, a: m.stack.append(()),
    "EMPTY_LIST": lambda m, a: m.stack.append([]),
    "EMPTY_DICT": lambda m, a: m.stack.append({}),
    "TUPLE": lambda m, a: m.stack.append(tuple(m._since_mark())),
    "TUPLE1": lambda m, a: m._tuple(1),
    "TUPLE2": lambda m, a: m._tuple(2),
    "TUPLE3": lambda m, a: m._tuple(3),
    "LIST": lambda m, a: m.stack.append(m._since_mark()),
    "DICT": lambda m, a: m._dict(m._since_mark()),
    "APPEND": lambda m, a: m._append([m._pop()]),
    "APPENDS": lambda m, a: m._append(m._since_mark()),
    "SETITEM": lambda m, a: m._set_items(_two(m)),
    "SETITEMS": lambda m, a: m._set_items(m._since_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, a: m.stack.append(m.memo[int(a)])),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), Machine._global),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), Machine._reduce),
    "BINPERSID": Machine._persistent,
    "BUILD": Machine._build,
}
