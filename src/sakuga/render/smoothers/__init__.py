"""Smoothers: what evens out flicker in rendered frames. Pictures in, pictures out; no model of ours, no latents.

The table is all there is to know: a new smoother is one file with ``smooth``, a record of options and one line here.
None of them keeps anything from shot to shot. Refuses to know where a shot ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sakuga.errors import JobError, Several, nearest_name
from sakuga.render.smoothers import contrast, fastblend, light, sharpness
from sakuga.spec.smoothing import FastBlendOptions, LightOptions, RateOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sakuga.spec.options import Option
    from sakuga.spec.plain import Plain

LEFT_OUT = {  # smoothers of other programs, and why they are not here
    "rife": "RIFE draws frames between frames with a network of its own, which is not part of this program"
}


@dataclass(frozen=True, kw_only=True)
class Smoother:
    """A smoother by its name.

    ``smooth``: (frames, guides, options, seed, device) → the frames of one shot, smoothed, in order; frames and guides
    are sequences of uint8 (height, width, 3), as many of both and of one size. ``options``: the record that it takes.
    ``hint``: what the user should know of it on this machine, or None.
    """

    name: str
    smooth: Callable[..., Iterator[NDArray[np.uint8]]]
    options: type[Plain]
    hint: Callable[[], str | None] = lambda: None

    def read(self, given: Iterable[tuple[str, Option]], place: str) -> Plain:
        """Its options from names and values that stand at ``place``. Raises ``JobError``, or ``Several``."""
        try:
            return self.options(**dict(given))
        except (JobError, Several) as error:
            for finding in error.findings if isinstance(error, Several) else (error,):
                finding.place = f"{place}.{finding.place}" if finding.place else place
            raise


SMOOTHERS: tuple[Smoother, ...] = (
    Smoother(name="light", smooth=light.smooth, options=LightOptions),
    Smoother(name="fastblend", smooth=fastblend.smooth, options=FastBlendOptions, hint=fastblend.hint),
    Smoother(name="contrast", smooth=contrast.smooth, options=RateOptions),
    Smoother(name="sharpness", smooth=sharpness.smooth, options=RateOptions),
)


def find_smoother(name: str) -> Smoother:
    """The smoother of that name. Raises ``JobError`` with the nearest name, or why it is left out."""
    for smoother in SMOOTHERS:
        if smoother.name == name:
            return smoother
    names = [smoother.name for smoother in SMOOTHERS]
    raise JobError(
        LEFT_OUT.get(name.lower(), "there is no such smoother"),
        given=name,
        expected="one of " + ", ".join(names),
        nearest=nearest_name(name, names),
        do="take light or fastblend against flicker" if name.lower() in LEFT_OUT else "choose one of these",
    )
