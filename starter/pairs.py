"""The training pairs in memory: latents of every look, condition pictures, captions; and how a batch is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

import codec

CROP = 32  # latents; 128 pixels
_WORDS = """
man woman person girl boy child face hand cat dog rabbit bird squirrel animal horse car street city house room forest
tree grass sky cloud sea water mountain field flower fruit apple food cup box rocket astronaut suit dress night day sun
light anime comic cartoon toon flat colours colors clean ink lines style film scene clip frame outdoor indoor running
walking sitting talking
"""
WORDS = tuple(_WORDS.split())
CAPTIONS = {
    "photo": ("", "", "photo", "a photo of {}", "video frame, {}", "{}", "{}, {}", "{} {} {}", "film still of {}"),
    "paint": ("flat paint", "flat paint, {}", "painted picture of {}", "oil paint, {} {}"),
    "line": ("line drawing", "line drawing of {}", "pencil lines, {}", "line art, {} {}"),
}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One picture: latents by look (fp16), its RGB pixels and its lines (uint8), and the looks kept as pixels too."""

    name: str
    latents: dict[str, Tensor]
    photo: np.ndarray
    lines: np.ndarray
    drawn: dict[str, np.ndarray]


def load(folder: Path, vae_folder: Path, looks: tuple[str, ...], pixels: tuple[str, ...] = ()) -> list[Pair]:
    """Encode every drawn picture once; half of them mirrored, by a coin thrown with a fixed seed.

    The looks in ``pixels`` are kept in memory as pictures too.
    """
    cache = folder.parent / f"{folder.name}.latents.pt"
    known = torch.load(cache, weights_only=True) if cache.exists() else {}
    vae = codec.load(vae_folder).to(memory_format=torch.channels_last)
    random = np.random.default_rng(11)
    pairs, fresh = [], False
    for path in sorted(folder.glob("*.npz")):
        mirrored = random.random() < 0.5
        drawn = np.load(path)
        pictures = {look: drawn[look] for look in (*looks, "photo", "line")}
        if mirrored:
            pictures = {look: np.ascontiguousarray(p[:, ::-1]) for look, p in pictures.items()}
        latents = known.setdefault(path.stem, {})
        for look in looks:
            if look not in latents:
                fresh = True
                latents[look] = codec.latents_of(vae, 255 - pictures["line"] if look == "line" else pictures[look])
        pairs.append(
            Pair(
                name=path.stem,
                latents=latents,
                photo=pictures["photo"],
                lines=pictures["line"][..., 0].copy(),
                drawn={look: pictures[look] for look in pixels},
            )
        )
    if fresh:
        torch.save(known, cache)
    return pairs


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step sees: target latents [B,8,32,32], conditions [B,3,128,128] in 0..1, token ids [B,77].

    ``pixels`` [B,3,128,128] in -1..1 is the target as a picture, where the looks were loaded so.
    """

    target: Tensor
    pixels: Tensor | None
    tile: Tensor
    lines: Tensor
    tokens: Tensor


class Sampler:
    """Draws batches: a look by its share, a picture, a crop, a caption."""

    def __init__(
        self,
        pairs: list[Pair],
        shares: dict[str, float],
        seed: int,
        style: str | None = None,
        captions: tuple[str, ...] = (),
    ) -> None:
        self.pairs, self.random = pairs, np.random.default_rng(seed)
        self.looks, self.shares = list(shares), np.array(list(shares.values()))
        self.style = style  # a look that stands in for "photo": what a LoRA or a word learns
        self.captions = captions  # looks whose captions are used at random, whatever the look is
        self.tokenizer: CLIPTokenizer = clip_tokenizer()

    def __call__(self, count: int) -> Batch:
        drawn = [self._one(self.looks[i]) for i in self.random.choice(len(self.looks), count, p=self.shares)]
        target, tile, lines, captions, pixels = zip(*drawn, strict=True)
        tokens = self.tokenizer(
            list(captions), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        stack = torch.from_numpy(np.stack(tile)).permute(0, 3, 1, 2).float() / 255
        white = torch.from_numpy(np.stack(lines))[:, None].float().expand(-1, 3, -1, -1) / 255
        cl = torch.channels_last
        return Batch(
            target=torch.stack(target).float().contiguous(memory_format=cl),
            pixels=None if pixels[0] is None else as_pixels(np.stack(pixels)),
            tile=stack.contiguous(memory_format=cl),
            lines=white.contiguous(memory_format=cl),
            tokens=tokens.input_ids,
        )

    def _one(self, look: str) -> tuple[Tensor, np.ndarray, np.ndarray, str, np.ndarray | None]:
        pair = self.pairs[self.random.integers(len(self.pairs))]
        shown = self.style if self.style and look == "photo" else look
        z = pair.latents[shown]
        y, x = self.random.integers(0, z.shape[1] - CROP + 1), self.random.integers(0, z.shape[2] - CROP + 1)
        area = np.s_[y * 4 : (y + CROP) * 4, x * 4 : (x + CROP) * 4]
        pixels = pair.drawn[shown][area] if shown in pair.drawn else None
        return z[:, y : y + CROP, x : x + CROP], pair.photo[area], pair.lines[area], self.caption(look), pixels

    def caption(self, look: str) -> str:
        if self.captions:
            look = self.captions[0 if self.random.random() < 0.8 else self.random.integers(1, len(self.captions))]
        forms = CAPTIONS[look]
        return forms[self.random.integers(len(forms))].format(*self.random.choice(WORDS, 3))


def as_pixels(pictures: np.ndarray) -> Tensor:
    """RGB uint8 [B,H,W,3] as the codec takes them: [B,3,H,W] in -1..1."""
    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return planes.contiguous(memory_format=torch.channels_last)


def clip_tokenizer() -> CLIPTokenizer:
    """The real CLIP vocabulary, as the product builds it."""
    from sakuga.models.tokenizer import clip_tokenizer as build

    return build()
