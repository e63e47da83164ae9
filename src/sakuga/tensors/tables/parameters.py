"""From names of modules to names of parameters: the last word (``weight``, ``bias``) is the same in every layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable

ModuleNames = Callable[[Iterable[str]], dict[str, str]]


def parameter_names(parameters: Iterable[str], module_names: ModuleNames) -> dict[str, str]:
    """The other name of each parameter whose module has one by ``module_names``."""
    parted = [(parameter, *parameter.rpartition(".")) for parameter in parameters]
    modules = module_names({module for _, module, _, _ in parted})
    return {name: f"{modules[module]}.{own}" for name, module, _, own in parted if module in modules}
