"""The rules of the house, read from the source: sizes, docstrings, and the few things that are never written here."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MIN_MODULE_DOCSTRING = 30  # characters: a sentence
NEVER_NAMED = re.compile(r"(^|_)(utils?|helpers?|misc|common)$")  # a name for a drawer, not for a thing
NEVER_CALLED = {
    "torch.load": "unpickles and so may run anything; TensorFile reads",
    "pickle.load": "may run anything; TensorFile reads",
    "pickle.loads": "may run anything; TensorFile reads",
    "pickle.Unpickler": "may run anything; TensorFile reads",
    "eval": "runs what it is given",
    "exec": "runs what it is given",
}
LEFT_FOR_LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

Rule = Callable[[ast.Module, str], Iterator[str]]


def file_size(tree: ast.Module, source: str) -> Iterator[str]:
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"1: {lines} lines, at most {MAX_FILE_LINES}: the noun inside is two nouns"


def function_size(tree: ast.Module, source: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}"


def module_docstring(tree: ast.Module, source: str) -> Iterator[str]:
    if len(ast.get_docstring(tree) or "") < MIN_MODULE_DOCSTRING:
        yield "1: no docstring that says what the module is for"


def swallowed_errors(tree: ast.Module, source: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"{node.lineno}: a bare except"
            if all(isinstance(one, ast.Pass) or _is_ellipsis(one) for one in node.body):
                yield f"{node.lineno}: an error is swallowed"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = {ast.unparse(arg) for arg in node.args}
            if caught & {"Exception", "BaseException"}:
                yield f"{node.lineno}: every error is swallowed"


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def forbidden_calls(tree: ast.Module, source: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (reason := NEVER_CALLED.get(ast.unparse(node.func))):
            yield f"{node.lineno}: {ast.unparse(node.func)} {reason}"


def relative_imports(tree: ast.Module, source: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{node.lineno}: a relative import"


def class_names(tree: ast.Module, source: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and re.search(r"^_?Base[A-Z]|(?<!^Model)Manager$|Helper$|Utils?$", node.name):
            yield f"{node.lineno}: class {node.name}: name the thing it is"


def passed_on_keywords(tree: ast.Module, source: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg:
            if node.name.startswith("__"):  # its signature belongs to Python
                continue
            yield f"{node.lineno}: {node.name} takes **{node.args.kwarg.arg}; name what it takes"


def comments_for_later(tree: ast.Module, source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and LEFT_FOR_LATER.search(token.string):
            yield f"{token.start[0]}: something is left for later"


EVERYWHERE: tuple[Rule, ...] = (file_size, function_size, module_docstring, relative_imports, comments_for_later)
IN_THE_PACKAGE: tuple[Rule, ...] = (swallowed_errors, forbidden_calls, class_names, passed_on_keywords)


def breaches(source: str, rules: tuple[Rule, ...]) -> list[str]:
    tree = ast.parse(source)
    return [text for rule in rules for text in rule(tree, source)]


def test_the_house_rules_hold(own_files: list[Path]) -> None:
    files = [path for path in own_files if path.suffix == ".py"]
    assert len(files) > 20
    found = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        rules = EVERYWHERE + IN_THE_PACKAGE if name.startswith("src/") else EVERYWHERE
        found += [f"{name}:{text}" for text in breaches(path.read_text(encoding="utf-8"), rules)]
        if NEVER_NAMED.search(path.stem):
            found.append(f"{name}: a name for a drawer, not for a thing")
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (file_size, '"""Doc."""\n' * 301),
        (function_size, "def f():\n" + "    x = 1\n" * 60),
        (module_docstring, "x = 1\n"),
        (module_docstring, '"""Short."""\n'),
        (swallowed_errors, "try:\n    f()\nexcept:\n    raise\n"),
        (swallowed_errors, "try:\n    f()\nexcept OSError:\n    pass\n"),
        (swallowed_errors, "try:\n    f()\nexcept OSError:\n    ...\n"),
        (swallowed_errors, "with contextlib.suppress(Exception):\n    f()\n"),
        (forbidden_calls, "import torch\nx = torch.load('a.ckpt', weights_only=True)\n"),
        (forbidden_calls, "import pickle\npickle.loads(b'')\n"),
        (relative_imports, "from .names import NameMap\n"),
        (class_names, "class LoraManager: ...\n"),
        (class_names, "class BaseSampler: ...\n"),
        (passed_on_keywords, "def load(path, **options): ...\n"),
        (comments_for_later, "x = 1  # " + "TO" + "DO: later\n"),
    ],
)
def test_a_breach_is_found(rule: Rule, source: str) -> None:
    assert breaches(source, (rule,))


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (function_size, "def f():\n" + "    x = 1\n" * 59),
        (swallowed_errors, "try:\n    f()\nexcept OSError as problem:\n    raise Known() from problem\n"),
        (swallowed_errors, "with contextlib.suppress(FileNotFoundError):\n    path.unlink()\n"),
        (forbidden_calls, "model.eval()\nnumpy.load(path)\n"),
        (class_names, "class Basement: ...\n"),
        (comments_for_later, 'x = "' + "TO" + 'DO"\n'),
    ],
)
def test_what_is_allowed_is_not_a_breach(rule: Rule, source: str) -> None:
    assert breaches(source, (rule,)) == []
