"""Relabel: what each module of one file is called in the layout that it is written in, and the way back from there.

Names that kohya's layout had are recorded in the metadata when a file leaves it, with the number formats of its alphas
and with what is true of the old file alone; so the way back gives the very same file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sakuga.errors import UnreadableFile
from sakuga.lora.module import Module
from sakuga.lora.tools.source import Source, nameless
from sakuga.lora.tools.spelling import Label, Layout, Spelling, plain_stem, stem_of

RECORD = "sakuga_names"
STALE = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")  # hashes of a file of other names
WRAPPED = "base_model.model."


def layout_of(source: Source) -> Layout:
    """The one of our layouts that a file is in, or that is nearest to its own."""
    if any(stem_of(module.group) for module in source.found.modules):
        return "kohya"
    return "peft" if all(name.startswith(WRAPPED) for name in source.file.names) else "diffusers"


def labels_of(source: Source, modules: Sequence[Module], layout: Layout) -> list[Label]:
    """The label of each module for ``layout``; its names are the model's, where a model's are known.

    Raises AdapterDoesNotFit where the layout needs a name that nothing tells.
    """
    names = source.found.names
    spelling = None if names is None else Spelling(names)
    labels = []
    for module in modules:
        group = module.group
        own = Label(component=group.component or "", path=group.path, stem=stem_of(group))
        if spelling is not None and module.seats:
            own = spelling.label_of(group, module.seats)
        elif (layout == "kohya" and not own.stem) or (layout != "kohya" and (own.stem or not own.component)):
            raise nameless([source])
        labels.append(own)
    if layout == "kohya" and spelling is not None:
        stems = spelling.with_stems(set(labels))
        return [stems[label] for label in labels]
    return labels


@dataclass(kw_only=True)
class Record:
    """The way back into kohya's layout. ``alpha`` is the usual format of alphas, ``others`` the formats of those that
    differ, empty for a module without one; ``stems`` are those that are not made by the simplest rule.
    """

    alpha: str = ""
    others: dict[str, str] = field(default_factory=dict)
    stems: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Source, labels: Mapping[Label, Module]) -> Record:
        """The record of a file in kohya's layout."""
        formats = {label.name: _alpha_format(source, module) for label, module in labels.items()}
        usual = Counter(formats.values()).most_common(1)[0][0]
        return cls(
            alpha=usual,
            others={name: given for name, given in formats.items() if given != usual},
            stems={label.name: label.stem for label in labels if label.stem != plain_stem(label)},
            metadata={key: value for key, value in source.found.metadata.items() if key in STALE},
        )

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> Record | None:
        """The record that a file holds, or None. Raises UnreadableFile when it is broken."""
        if RECORD not in metadata:
            return None
        try:
            found: dict[str, Any] = json.loads(metadata[RECORD])
            made = cls(**found)
            tables = (made.others, made.stems, made.metadata)
            sound = isinstance(made.alpha, str) and all(
                isinstance(key, str) and isinstance(value, str) for table in tables for key, value in table.items()
            )
        except (ValueError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise UnreadableFile(
                f"the record of names in the metadata ({RECORD}) is broken",
                given=metadata[RECORD][:80],
                do="convert the original file again",
            )
        return made

    def text(self) -> str:
        """For the metadata."""
        return json.dumps(vars(self), sort_keys=True, separators=(",", ":"))

    def stem(self, label: Label) -> str:
        """The stem that the module had."""
        return self.stems.get(label.name, plain_stem(label))

    def alpha_format(self, label: Label) -> str:
        """The number format of the module's alpha as headers call it, [1] behind it for a list; empty: it had none."""
        return self.others.get(label.name, self.alpha)


def _alpha_format(source: Source, module: Module) -> str:
    key = module.group.leaves.get("alpha")
    if key is None or key in source.file.extras:
        return ""
    return source.file.dtype(key) + ("[1]" if source.file.shape(key) else "")
