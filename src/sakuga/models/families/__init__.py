"""The families that can be rendered, and the titles of those that are only recognised."""

from __future__ import annotations

from collections.abc import Mapping

from sakuga.errors import UnknownFile
from sakuga.models.families.sd15 import SD15
from sakuga.models.family import Family

FAMILIES: tuple[Family, ...] = (SD15,)
TITLES: Mapping[str, str] = {"sd15": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL", "sd3": "SD 3", "flux": "Flux"}


def family_named(name: str | None, *, of: str) -> Family:
    """The family called ``name``; ``of`` says what has it, for the UnknownFile that names a family we cannot render."""
    found = next((family for family in FAMILIES if family.name == name), None)
    if found is None:
        raise UnknownFile(
            f"{of} is of a family that cannot be rendered here",
            given=TITLES.get(str(name), "an unknown family"),
            expected=" or ".join(family.title for family in FAMILIES),
            do="choose a model of that family",
        )
    return found
