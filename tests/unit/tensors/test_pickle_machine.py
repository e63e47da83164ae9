"""The machine that walks over opcodes: each that a checkpoint does not need is refused, by itself and by hand."""

from __future__ import annotations

import io

import pytest

from sakuga.tensors.pickle_allowed import Refused
from sakuga.tensors.pickle_machine import Machine

# Opcodes by hand: pickles that no pickler writes.
G = b"ccollections\nOrderedDict\n"
T = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"(ios\nsystem\n.", "the opcode INST"),
        (b"(cos\nsystem\no.", "asks for os.system"),
        (b"(ccollections\nOrderedDict\no.", "the opcode OBJ"),
        (b"\x82\x01.", "the opcode EXT1"),
        (b"S'a\\Xb'\n.", "the opcode STRING"),
        (b"cos\\x73\nsystem\n.", "asks for os\\x73.system"),
        (b"cos\nsystem", "a name without an end"),
        (b"\xee.", "no opcode where one should be"),
        (b"\x97.", "the opcode NEXT_BUFFER"),
        (b"Pkey\n.", "the opcode PERSID"),
        (G + b"}b.", "sets the state of collections.OrderedDict"),
        (T + b")R.", "wrong number"),
        (T + b"(K\x01K\x00)))tR.", "without a storage"),
        (b"]" + b"K\x01" + b"s.", "empty stack"),
        (b"K\x01K\x02K\x03s.", "not a dict"),
        (b"K\x01K\x02a.", "not a list"),
        (b"}]K\x01s.", "list as a key"),
        (b"})K\x01s.", "tuple as a key"),
        (b"K\x01)R.", "wants to call int"),
        (b"h\x05.", "cut off or garbled"),
        (b"N", "cut off or garbled"),
        (b"U\xffab", "cut off or garbled"),
        (b"B\xff\xff\xff\x7fab", "cut off or garbled"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab", "cut off or garbled"),
        (b"0.", "empty stack"),
        (b"(.", "a mark for a value"),
        (b"t.", "a mark that is not there"),
        (b"c__builtin__\neval\n.", "asks for __builtin__.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for os.system"),
        (b"\x80\x04K\x01K\x02\x93.", "a name that is not text"),
        (b"ctorch\n_C\n.", "asks for torch._C"),
        (b"ctorch.storage\nUntypedStorage\n.", "asks for torch.storage.UntypedStorage"),
        (b"ctorch\nfloat32\n)R.", "wants to call torch.float32"),
        (b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuJ\xff\xff\xff\xfftQ.", "not a storage"),
        (b"(U\x07storagectorch\nfloat32\nU\x010U\x03cpuK\x01tQ.", "not a storage"),
        (b"K\x01Q.", "not a storage"),
    ],
)
def test_opcodes_by_hand(data: bytes, why: str) -> None:
    with pytest.raises(Refused) as caught:
        Machine().run(io.BytesIO(data))
    assert why in str(caught.value)


def test_the_state_of_a_dict_is_of_no_interest() -> None:
    assert Machine().run(io.BytesIO(G + b")R}(U\x01aK\x01ub.")) == {}


def test_a_far_memo_place_takes_no_memory() -> None:
    assert Machine().run(io.BytesIO(b"K\x01r\xff\xff\xff\xff.")) == 1
