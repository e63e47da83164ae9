"""The tokenizer of CLIP: from a model's own folder, or from the vocabulary that comes with this package.

All SD 1.x text encoders share one vocabulary, so a single-file checkpoint needs no tokenizer beside it. The vocabulary
is OpenAI's, as published with open_clip (MIT licence); see NOTICE.
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sakuga.errors import FileProblem

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

VOCABULARY = Path(__file__).parent / "clip_vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
TOKENIZER = "tokenizer"  # the folder in that of a model
POSITIONS = 77
MERGES = 49152 - 256 - 2  # CLIP uses the first ones of a longer list
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


@functools.cache
def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, 49408 tokens, 77 positions, from the vocabulary in the package."""
    from transformers import CLIPTokenizer  # here: the library takes long to come

    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : MERGES + 1]]
    letters = _letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), *SPECIAL]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    make: Any = CLIPTokenizer  # its signature is narrower than what it takes
    tokenizer: CLIPTokenizer = make(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)
    return tokenizer


def tokenizer_at(folder: Path) -> CLIPTokenizer:
    """The tokenizer of a model's folder ``tokenizer``; that of the package if there is none. Raises FileProblem."""
    if not (folder / "vocab.json").is_file() and not (folder / "tokenizer.json").is_file():
        return clip_tokenizer()
    from transformers import CLIPTokenizer

    try:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises whatever the odd file happened to break
        raise FileProblem(
            "the tokenizer cannot be read",
            given=f"{folder}: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            expected="CLIP's tokenizer, as transformers writes it",
            do="fetch the folder again, or take it away: the package has CLIP's own",
        ) from error
    return tokenizer


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that make the tokenizer of a model's folder what it is, sorted by name."""
    return sorted(file for pattern in ("*.json", "*.txt") for file in folder.glob(pattern))


def _letters() -> list[str]:
    """CLIP's letters for the 256 bytes, in its order: printable ones first, each as itself (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(256 - len(plain))]
