"""``sakuga.json``: what a bundle folder says beyond diffusers' files, {"schema": 1, "name", "family", "defaults"}.

All entries are optional; ``defaults`` takes the names of ``Defaults``. Unknown entries and another family are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sakuga.errors import FileProblem, nearest_name
from sakuga.models.family import Defaults, Family
from sakuga.models.folders import read_config

SETTINGS = "sakuga.json"
KEYS = ("schema", "name", "family", "defaults")
SCHEMA = 1


def read_settings(folder: Path, family: Family) -> tuple[str, Defaults]:
    """Name and defaults of the bundle in ``folder``; its folder's name and the family's where it says nothing."""
    path = folder / SETTINGS
    settings: dict[str, Any] = read_config(path) if path.is_file() else {}
    for key in settings:
        if key not in KEYS:
            raise FileProblem(
                f"{SETTINGS} has an entry that is not known",
                given=key,
                expected=", ".join(KEYS),
                nearest=nearest_name(key, KEYS),
                do="correct it, or take it out",
            )
    _check_is(settings, "schema", SCHEMA)
    _check_is(settings, "family", family.name)
    given = settings.get("defaults", {})
    if not isinstance(given, dict):
        raise FileProblem(f"the defaults in {SETTINGS} are not an object", given=repr(given), do="correct it")
    return str(settings.get("name", folder.resolve().name)), family.defaults.replaced(given, SETTINGS)


def _check_is(settings: dict[str, Any], key: str, expected: object) -> None:
    if settings.get(key, expected) != expected:
        raise FileProblem(
            f"{key} in {SETTINGS} is not what it should be",
            given=repr(settings[key]),
            expected=f"{expected!r}",
            do="use a bundle that was made for this version",
        )
