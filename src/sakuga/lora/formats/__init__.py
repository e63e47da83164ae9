"""The table of layouts, read top to bottom; every layout's own samples are refused by all others (a contract test)."""

from __future__ import annotations

import re

from sakuga.errors import AdapterDoesNotFit, UnknownFile, counted
from sakuga.lora.formats.kohya import KOHYA
from sakuga.lora.formats.layout import Format, Group, Header, Reading
from sakuga.lora.formats.peft import PEFT

__all__ = ["FORMATS", "Format", "Group", "Header", "Reading", "recognise"]

FORMATS: tuple[Format, ...] = (KOHYA, PEFT)

# Files that are known for what they are, so that the refusal can say it.
KNOWN_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"lora_controlnet$"), "a Control-LoRA, which is a ControlNet and not a change of the base"),
    (re.compile(r"[a-z_]+:\d+:(up|down)$"), "a LoRA in cloneofsimo's first layout, which this version does not read"),
    (re.compile(r".*\.layer\.W_(down|up)$"), "a LoRA of HCP-Diffusion, which this version does not read"),
    (re.compile(r"(emb_params|string_to_param\..*|clip_[lg])$"), "a textual inversion, to be named in the prompt"),
    (re.compile(r"(model\.diffusion_model|first_stage_model)\."), "a checkpoint, not an adapter"),
)


def recognise(file: Header) -> tuple[Format, str]:
    """(layout, reason) from the header. Raises AdapterDoesNotFit for a known other thing, UnknownFile for the rest."""
    for layout in FORMATS:
        reason = layout.recognise(file)
        if reason:
            return layout, reason
    for key in file.names:
        for pattern, what in KNOWN_OTHERS:
            if pattern.match(key):
                raise AdapterDoesNotFit(f"{file.path.name} is {what}", given=f"keys such as {key}")
    sample = ", ".join(file.names[:2]) or "no tensors at all"
    raise UnknownFile(
        f"{file.path.name} is no adapter that is known here",
        given=f"{counted(len(file.names), 'key')} such as {sample}" if file.names else sample,
        expected=f"the keys of {' or '.join(layout.name for layout in FORMATS)}, for example "
        "lora_unet_….lora_down.weight or unet.….lora_A.weight",
        do="check that it is the adapter and not the base model, or save it again in one of these layouts",
    )
