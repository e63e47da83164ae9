"""A campaign: many trials from one seed. Files that were taken in a way not seen before become material for more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tests.corpus.written import written
from tests.fuzz.draft import Draft
from tests.fuzz.mutations import MUTATIONS
from tests.fuzz.noise import noisy
from tests.fuzz.trial import Bench, Outcome

KEPT = 3000  # files that are kept as material
_NAMES = ("style.safetensors", "style.pt", "adapter_model.safetensors", "adapter_model.bin", "style.ckpt")
_WEIGHTS = [weight for weight, _ in MUTATIONS]
_WAYS = [mutation for _, mutation in MUTATIONS]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The bytes of one case, the text of a config beside it, and the model that it is held against."""

    raw: bytes
    model: str
    name: str
    config: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One trial that was made."""

    number: int
    sample: Sample
    outcome: Outcome
    new: bool


class Campaign:
    """Trials one after another, the same for the same seed; ``more`` are files to begin with beside our own."""

    def __init__(self, folder: Path, seed: int, more: Sequence[bytes] = ()) -> None:
        self.folder, self.chance = folder, Random(seed)
        self.bench = Bench()
        self.drafts = _drafts()
        self.files = [Sample(raw=raw, model="sd15", name=_NAMES[0]) for raw in more]
        self.seen: Counter[str] = Counter()

    def cases(self) -> Iterator[Case]:
        """Without end."""
        number = 0
        while True:
            sample = self._sample()
            outcome = self.tried(sample)
            self.seen[outcome.kind] += 1
            new = self.seen[outcome.kind] == 1
            if new and len(self.files) < KEPT and len(sample.raw) < 100_000:
                self.files.append(sample)
            yield Case(number=number, sample=sample, outcome=outcome, new=new)
            number += 1

    def tried(self, sample: Sample) -> Outcome:
        """What comes of one file."""
        path, config = self.folder / sample.name, self.folder / "adapter_config.json"
        path.write_bytes(sample.raw)
        if sample.config is None:
            config.unlink(missing_ok=True)
        else:
            config.write_text(sample.config, encoding="utf-8")
        odd = len(sample.raw) % 2 == 1
        outcome = self.bench.trial(path, sample.model, partial=odd, deep=len(sample.raw) % 16 == 0)
        path.unlink()
        return outcome

    def _sample(self) -> Sample:
        chance = self.chance
        if self.files and chance.random() < 0.25:
            old, other = chance.choice(self.files), chance.choice(self.files)
            name = old.name if chance.random() < 0.8 else chance.choice(_NAMES)
            return Sample(raw=noisy(old.raw, other.raw, chance), model=old.model, name=name, config=old.config)
        draft = chance.choice(self.drafts).copy()
        if chance.random() < 0.15:
            draft.tensors += chance.choice(self.drafts).tensors[: chance.randrange(1, 8)]
        for mutation in chance.choices(_WAYS, _WEIGHTS, k=chance.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            mutation(draft, chance)
        raw = _written(draft)
        if chance.random() < 0.3:
            raw = noisy(raw, raw, chance)
        name = "adapter_model.safetensors" if draft.config else chance.choice(_NAMES)
        return Sample(raw=raw, model=draft.model, name=name, config=draft.config)


def _written(draft: Draft) -> bytes:
    try:
        return draft.write()
    except UnicodeEncodeError:  # no pickler writes half a letter
        draft.container = "safetensors"
        return draft.write()


def _drafts() -> list[Draft]:
    """One for each algorithm in each layout; some with the config that PEFT writes, some with metadata."""
    found = []
    for number, one in enumerate(written()):
        draft = Draft(model=one.layout.table.name, tensors=list(one.tensors.items()))
        if one.name.startswith("PEFT"):
            draft.config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": bool(number % 2)})
        elif number % 3 == 0:
            draft.metadata = {"ss_base_model_version": "sd_v1", "ss_network_module": "networks.lora"}
        elif number % 3 == 1:
            draft.tensors += [("bundle_emb.ink.emb_params", torch.zeros(1, 16)), ("_aux.step", torch.zeros(1))]
        found.append(draft)
    return found
