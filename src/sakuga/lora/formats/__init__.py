"""The table of layouts, read top to bottom; every layout's own samples are refused by all others (a contract test).

What takes keys apart in one way is one reader; the names that producers and people have for it are in ``titles``.
"""

from __future__ import annotations

import re

from sakuga.errors import AdapterDoesNotFit, UnknownFile, counted
from sakuga.lora.formats.cloneofsimo import CLONEOFSIMO
from sakuga.lora.formats.dotted import Dotted
from sakuga.lora.formats.hcp import HCP
from sakuga.lora.formats.kohya import KOHYA
from sakuga.lora.formats.layout import Format, Group, Header, Reading, Spot
from sakuga.lora.formats.peft_config import config_of
from sakuga.lora.formats.processors import PROCESSORS
from sakuga.lora.formats.xlabs import XLABS
from sakuga.tensors.refs import spoken_file

__all__ = ["FORMATS", "Format", "Group", "Header", "Reading", "Spot", "recognise"]

# Each of these knows its keys by something of its own; the dotted layout is what is left.
_MARKED: tuple[Format, ...] = (KOHYA, CLONEOFSIMO, XLABS, PROCESSORS, HCP)
FORMATS: tuple[Format, ...] = (*_MARKED, Dotted(_MARKED))

# Files that are known for what they are, so that the refusal can say it, and what to do with them.
KNOWN_OTHERS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"lora_controlnet$"),
        "a Control-LoRA, which is a ControlNet and not a change of the base",
        "take a whole ControlNet for the same kind of picture, with --control; this kind of file is not applied",
    ),
    (
        re.compile(r"lllite_"),
        "a ControlNet-LLLite, which looks at a picture in every step and is no change of weights",
        "take a whole ControlNet for the same kind of picture, with --control; this kind of file is not applied",
    ),
    (
        re.compile(r"(emb_params|string_to_param\..*|clip_[lg])$"),
        "a textual inversion, to be named in the prompt",
        "give it with --embedding, and its name in the prompt",
    ),
    (
        re.compile(r"(model\.diffusion_model|first_stage_model)\."),
        "a checkpoint, not an adapter",
        "give it with --base",
    ),
)


def recognise(file: Header) -> tuple[Format, str]:
    """(layout, reason) from the header. Raises AdapterDoesNotFit for a known other thing, UnknownFile for the rest."""
    for layout in FORMATS:
        reason = layout.recognise(file)
        if reason:
            return layout, reason
    for pattern, what, do in KNOWN_OTHERS:
        key = next((key for key in file.names if pattern.match(key)), None)
        if key is not None:
            raise AdapterDoesNotFit(
                f"{spoken_file(file.path)} is {what}", given=f"keys such as {key}", expected="an adapter", do=do
            )
    config = config_of(file)
    if config is not None and config.problem:
        raise AdapterDoesNotFit(
            f"{spoken_file(file.path)} is not applied: {config.problem}", do="use a LoRA of the same style"
        )
    sample = ", ".join(file.names[:2]) or "no tensors at all"
    raise UnknownFile(
        f"{spoken_file(file.path)} is no adapter that is known here",
        given=f"{counted(len(file.names), 'key')} such as {sample}" if file.names else sample,
        expected="the keys of an adapter, for example lora_unet_….lora_down.weight or unet.….lora_A.weight",
        do="check that it is the adapter and not the base model, or save it again in one of these layouts",
    )
