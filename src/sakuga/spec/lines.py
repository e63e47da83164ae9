"""YAML or JSON text to plain data, with the line of every value. Tells all that is wrong with the text at once.

Reads the events of PyYAML's parser, which constructs nothing. Refuses tags, deep nesting, huge texts, alias bombs and
keys given twice. Words mean what YAML 1.2 says: ``yes`` is a word, ``1:30`` is text, ``1e3`` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from sakuga.errors import JobError, SakugaError
from sakuga.spec.fields import Place

LARGEST_BYTES = 256 * 1024  # a job file is about 1 KiB
DEEPEST = 12
MOST_VALUES = 10_000  # aliases counted with all they stand for

INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A text as plain data: dicts with text keys, lists, text, numbers, truth values, None."""

    name: str
    data: object
    lines: dict[Place, int]
    findings: tuple[SakugaError, ...]

    def where(self, place: Place) -> str:
        """Where ``place``, or the nearest thing around it that was written, stands: "job.yaml, line 5"."""
        return self.line_of(place) or (f"{self.name}, line {self.lines[()]}" if self.lines else self.name)

    def line_of(self, place: Place) -> str | None:
        """The same, but None where neither ``place`` nor anything that holds it, but the whole, was written."""
        known = (place[:end] for end in range(len(place), 0, -1) if place[:end] in self.lines)
        return next((f"{self.name}, line {self.lines[part]}" for part in known), None)


def read_lines(text: str, name: str) -> Lines:
    """``text`` as data; ``name`` stands for it in messages. Raises JobError where nothing can be read at all."""
    if len(text) > LARGEST_BYTES:
        raise JobError(
            f"{name} is too large for a job", given=f"{len(text):,} characters", expected=f"at most {LARGEST_BYTES:,}"
        )
    building = _Building(name=name)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            building.take(event)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _unreadable(name, f"line {line}: {error.problem}", text, line) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: PyYAML on "\UFFFFFFFF"
        raise _unreadable(name, str(error).splitlines()[0], text, None) from None
    root = building.root
    if root is None:
        raise JobError(f"{name} is empty", expected="at least the line: source: clip.mp4")
    return Lines(name=name, data=root.value, lines=dict(root.places(())), findings=tuple(building.findings))


def read_value(text: str, name: str) -> object:
    """One value as it may stand in a flag: a list or a table in brackets, else a single word or number."""
    if text.lstrip()[:1] in ("[", "{"):
        lines = read_lines(text, name)
        if lines.findings:
            raise lines.findings[0]
        return lines.data
    return read_flag(text)


def read_flag(text: str) -> object:
    """The word that a flag gives. Nothing at all stays nothing, which no field takes for a value: it is not null."""
    return read_word(text) if text else text


def read_word(text: str) -> object:
    """An unquoted word of YAML: null, true, false, a number, or else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float(special[1] + "inf")
    return text


@dataclass(kw_only=True)
class _Node:
    """A value, the line it begins in, what is inside it, and how many values that are in all."""

    value: object
    line: int
    inside: dict[str | int, _Node] = field(default_factory=dict)
    count: int = 1
    key: str | None = None  # in a table under way: the key whose value comes next

    def places(self, place: Place) -> Iterator[tuple[Place, int]]:
        yield place, self.line
        for part, node in self.inside.items():
            yield from node.places((*place, part))


@dataclass(kw_only=True)
class _Building:
    """Puts the events of a parser together to nodes; a stack instead of recursion, so that depth cannot hurt."""

    name: str
    root: _Node | None = None
    open: list[tuple[_Node, str | None]] = field(default_factory=list)
    anchors: dict[str, _Node] = field(default_factory=dict)
    findings: list[SakugaError] = field(default_factory=list)
    taken: int = 0

    def take(self, event: yaml.Event) -> None:
        """One event more."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self._error("an alias without an anchor before it", line, given=f"*{event.anchor}")
            self._put(self.anchors[event.anchor], line)
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event, line)
            word = event.style is None
            node = _Node(value=read_word(event.value) if word else _joined(event.value), line=line)
            self._anchor(event.anchor, node)
            self._put(node, line, key=event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_tag(event, line)
            value: object = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            self.open.append((_Node(value=value, line=line), event.anchor))
            if len(self.open) > DEEPEST:
                raise self._error("nested too deeply", line, expected=f"at most {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            node, anchor = self.open.pop()
            self._anchor(anchor, node)
            self._put(node, node.line)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self._error("a second document", line, expected="one job in one file", do="take out the line ---")

    def _put(self, node: _Node, line: int, key: str | None = None) -> None:
        """``node`` into what is open, as its next key, value or entry."""
        self.taken += node.count
        if self.taken > MOST_VALUES:
            raise self._error("too many values", line, expected=f"at most {MOST_VALUES:,}, aliases counted in full")
        if not self.open:
            self.root = node if node.value is not None else None
            return
        parent, _ = self.open[-1]
        if isinstance(parent.value, list):
            parent.inside[len(parent.value)] = node
            parent.value.append(node.value)
        elif parent.key is None:
            if key is None:
                raise self._error("a key is not a word", line, expected="name: value")
            parent.key = key
            return
        else:
            assert isinstance(parent.value, dict)
            if parent.key in parent.value:
                first = parent.inside[parent.key].line
                title = f"{parent.key[:60]!r} is given twice"
                self.findings.append(self._error(title, line, given=f"lines {first} and {line}", do="keep one of them"))
            parent.inside[parent.key] = node
            parent.value[parent.key], parent.key = node.value, None
        parent.count += node.count

    def _anchor(self, anchor: str | None, node: _Node) -> None:
        if anchor is not None:
            self.anchors[anchor] = node

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None and event.tag != "!":
            raise self._error("a job has no tags", line, given=event.tag[:80], expected="a plain value")

    def _error(
        self, title: str, line: int, *, given: str | None = None, expected: str | None = None, do: str | None = None
    ) -> JobError:
        return JobError(f"{self.name}, line {line}: {title}", given=given, expected=expected, do=do)


def _joined(text: str) -> str:
    """The text with pairs of UTF-16 surrogates, as JSON writes them, made one character."""
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return text  # a half pair; the field it stands in refuses it


def _unreadable(name: str, problem: str, text: str, line: int | None) -> JobError:
    lines = text.splitlines()
    given = lines[line - 1].strip()[:80] if line is not None and line <= len(lines) else None
    expected = 'YAML: "name: value" lines, lists in [ ], text with special characters in quotes'
    return JobError(f"{name} cannot be read, {problem}", given=given or None, expected=expected)
