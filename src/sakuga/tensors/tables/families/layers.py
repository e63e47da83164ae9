"""The words that trees of modules are written in: layers with the shapes of their parameters, and groups of them.

Shapes are those of torch: outputs before inputs. Nothing here knows a family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sakuga.tensors.seat import Shape, Tree

Parameters = Mapping[str, Shape]


def linear(inputs: int, outputs: int, *, bias: bool = True) -> Parameters:
    """A linear layer.

    >>> linear(4, 8)
    {'weight': (8, 4), 'bias': (8,)}
    """
    return {"weight": (outputs, inputs), "bias": (outputs,)} if bias else {"weight": (outputs, inputs)}


def conv(inputs: int, outputs: int, *kernel: int) -> Parameters:
    """A convolution with a bias; ``kernel`` is its size along each axis."""
    return {"weight": (outputs, inputs, *kernel), "bias": (outputs,)}


def norm(width: int) -> Parameters:
    """A layer norm or a group norm: a weight and a bias."""
    return {"weight": (width,), "bias": (width,)}


def scale(width: int) -> Parameters:
    """A norm without a bias (RMS norm)."""
    return {"weight": (width,)}


def embedding(rows: int, width: int) -> Parameters:
    """A table of vectors."""
    return {"weight": (rows, width)}


def under(name: str, tree: Tree) -> Tree:
    """The tree as a part called ``name`` of another."""
    return {f"{name}.{module}": parameters for module, parameters in tree.items()}


def blocks(name: str, count: int, block: Tree | Callable[[int], Tree]) -> Tree:
    """A list of ``count`` parts: ``name.0``, ``name.1`` …, all of them ``block``, or what it gives for each number."""
    found: dict[str, Parameters] = {}
    for index in range(count):
        found.update(under(f"{name}.{index}", block(index) if callable(block) else block))
    return found


def projections(names: str, inputs: int, outputs: int, *, bias: bool = True) -> Tree:
    """Linear layers of one shape, ``names`` with blanks between."""
    return dict.fromkeys(names.split(), linear(inputs, outputs, bias=bias))


def mlp(width: int, inner: int, *, gate: int = 1) -> Tree:
    """A feed-forward of diffusers: ``net.0.proj`` (``gate`` 2 where one half gates the other) and ``net.2``."""
    return {"net.0.proj": linear(width, gate * inner), "net.2": linear(inner, width)}


def embedder(inputs: int, width: int, *, bias: bool = True) -> Tree:
    """Two linear layers that make a vector of ``width``: ``linear_1`` and ``linear_2``."""
    return {"linear_1": linear(inputs, width, bias=bias), "linear_2": linear(width, width, bias=bias)}
