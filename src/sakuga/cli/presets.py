"""``sakuga presets``: the settings that have a name, and what is in each."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sakuga.cli.parser import Commands

_DESCRIPTION = (
    "List the presets for --preset and for the key preset of a job file, each with its settings. What is said beside a "
    "preset takes the place of its settings. On the starter, which is made for one step, some have other values."
)


def add(commands: Commands) -> None:
    """Register the command."""
    parser = commands.add_parser("presets", usage="[--json]", description=_DESCRIPTION)
    parser.set_defaults(parser=parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print them."""
    from sakuga.spec.presets import PRESETS

    if options.json:
        told = {
            name: {"title": preset.title, "stages": preset.stages, "on_starter": preset.on_starter}
            for name, preset in PRESETS.items()
        }
        print(json.dumps({"schema": 1, "presets": told}, indent=2))
        return 0
    for name, preset in PRESETS.items():
        print(f"{name}: {preset.title}")
        for number, (stage, instead) in enumerate(zip(preset.stages, preset.on_starter, strict=True)):
            print(f"  stage {number}     {_line(stage)}")
            print(f"    on the starter: {_line(instead)}")
    return 0


def _line(values: object) -> str:
    assert isinstance(values, dict)
    return ", ".join(f"{name} {_words(value)}" for name, value in values.items())


def _words(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(_words, value))
    if isinstance(value, dict):
        source = f" from the {value['source']}" if "source" in value else ""
        return f"{value['kind']}:{value['scale']:g}{source}"
    return str(value) if value != "" else "none"
