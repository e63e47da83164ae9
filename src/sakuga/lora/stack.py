"""Stack: adapters in use, each with a weight for the image model and one for the text encoder, applied by ``with``.

Every change is computed from the pristine weight and summed in an order that comes from the adapters' contents, so a
stack gives the same bits however it was listed. It gets plain numbers: curves and jobs are evaluated elsewhere.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from sakuga.errors import SakugaError
from sakuga.lora.adapter import Adapter
from sakuga.lora.applied import Applied
from sakuga.lora.asked import acts
from sakuga.lora.cache import Cache
from sakuga.lora.carrying import carrying
from sakuga.lora.options import Options, by_name
from sakuga.lora.origin import Origin
from sakuga.lora.plan import Needs, decide, needs
from sakuga.lora.targets import Parts, Target, bind, parts_of
from sakuga.lora.weight import StackWeight

__all__ = ["Applied", "Stack", "StackWeight"]


@dataclass(frozen=True)
class Stack:
    """Adapters with their weights: ``(adapter, 0.8)`` or ``(adapter, StackWeight(…))``; a number is for both models.
    One adapter may be in it twice; its changes then add up. Raises SakugaError for entries of another form.

    >>> with Stack([(ink, 0.8)]).applied(pipeline.components) as applied:  # doctest: +SKIP
    ...     applied.set({"ink": StackWeight(unet=0.4)})
    """

    entries: tuple[tuple[Adapter, StackWeight], ...] = ()

    def __init__(self, entries: Iterable[tuple[Adapter, StackWeight | float]] = ()) -> None:
        plain = tuple(map(_entry, _listed(entries)))
        object.__setattr__(self, "entries", plain)

    @contextmanager
    def applied(
        self,
        parts: Parts,
        *,
        live: bool = False,
        motion: Callable[[str, str], bool] = by_name,
        cache: Cache | None = None,
        origin: Origin | None = None,
        reread: bool = False,
    ) -> Iterator[Applied]:
        """Change ``parts`` (component → module, or one module) for the length of the block.

        Everything is checked before anything is changed. Afterwards, also after an exception or Ctrl-C, every weight is
        the very same bytes in the same memory. The parts may be used under ``no_grad`` or ``inference_mode``; they must
        not be moved, cast or given other weights meanwhile. What is written into a changed weight is gone afterwards,
        and a copy that is made of a part (``copy.deepcopy``) keeps the changes, for torch copies the numbers that are
        there; where layers are live, it is refused.

        Weights are changed themselves where that can be, else layers add to their output; ``live``: all of them do, for
        weights that change often. ``motion`` says of (component, module) whether it is a layer of a motion module,
        whose input has frames in its second dimension. ``cache`` keeps what was computed for the next time.

        Pristine memory is not written: changed weights are other memory. With an ``origin`` (``origin_of`` makes one of
        files) weights are instead changed where they are, and read again from there, if there is no room for both or
        ``reread`` asks for it; whatever else lies on that memory sees the change.

        Raises AdapterDoesNotFit when an adapter does not fit; SakugaError when a part, or a model that shares a weight
        with it, already carries a stack, when there is not enough memory, when the origin gives other numbers than the
        weights have, and on leaving when weights could not be read again, with their names.
        """
        modules = parts_of(parts)
        with carrying(modules):
            applied = Applied(
                adapters=[adapter for adapter, _ in self.entries],
                parts=modules,
                targets=self._targets(modules),
                weights=[weight for _, weight in self.entries],
                options=Options(live=live, motion=motion, cache=cache, origin=origin, reread=reread),
            )
            with applied.holding():
                yield applied

    def needs(self, parts: Parts, *, live: bool = False) -> Needs:
        """The memory that ``applied`` would take, at most. Nothing is changed. Raises AdapterDoesNotFit."""
        targets = self._targets(parts_of(parts))
        return needs(targets, {target: decide(target, (), live) for target in targets})

    def _targets(self, parts: dict[str, nn.Module]) -> tuple[Target, ...]:
        silent = {
            (entry, component)
            for entry, (adapter, weight) in enumerate(self.entries)
            for component in {patch.component for patch in adapter.patches}
            if not acts(adapter, weight, component)
        }
        return bind([adapter for adapter, _ in self.entries], parts, silent)


def _listed(entries: object) -> Iterable[object]:
    """What was given as entries, if that can be gone through at all."""
    if isinstance(entries, Iterable) and not isinstance(entries, str | Mapping):
        return entries
    raise _no_entry(entries, "this is no list of adapters with their weights")


def _entry(given: object) -> tuple[Adapter, StackWeight]:
    if not isinstance(given, tuple | list) or len(given) != 2 or not isinstance(given[0], Adapter):
        raise _no_entry(given, "this is no adapter with its weight")
    try:
        return given[0], StackWeight.of(given[1])
    except SakugaError as problem:
        raise problem.at(given[0].name) from None


def _no_entry(given: object, title: str) -> SakugaError:
    adapter = given if isinstance(given, Adapter) else None
    first = given[0] if isinstance(given, tuple | list) and given else given
    unread = isinstance(first, str | os.PathLike)
    return SakugaError(
        title,
        given=f"the adapter {adapter.name} alone" if adapter else reprlib.repr(given),
        expected="(adapter, 0.8) or (adapter, StackWeight(unet=0.8)), in a list",
        do="read the file first: Stack([(load_lora(path, parts), 0.8)])" if unread else "give Stack([(adapter, 0.8)])",
    )
