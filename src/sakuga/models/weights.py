"""Single weights of a base, read from its files when they are asked for: for those who measure and do not render, and
for a way back to pristine weights that takes no memory.

Takes an Outline, which knows where every weight lies; nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sakuga.models.fill import Place
from sakuga.models.outline import Outline


def weights_of(base: Outline) -> Callable[[str, str, str], Tensor | None]:
    """A function of (component, dotted module, parameter), which gives the tensor in the shape of the model and the
    number format of the file, or None where there is none. ``fill`` made the loaded weight of it by ``to(dtype)``.
    """
    parts = {"unet": base.unet, "text_encoder": base.text_encoder}
    places: dict[tuple[str, str], Place] = {}
    shapes: dict[tuple[str, str], tuple[int, ...]] = {}
    for component, blueprint in parts.items():
        shapes |= {(component, name): shape for name, shape in blueprint.shapes.items()}
        places |= {(component, place.parameter): place for place in blueprint.places()}

    def weight(component: str, module: str, parameter: str) -> Tensor | None:
        key = component, f"{module}.{parameter}"
        place = places.get(key)
        return None if place is None else place.file.tensor(place.name).reshape(shapes[key])

    return weight
