"""Which jobs of a queue are meant: by their numbers, or by the names of their clips. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sakuga.errors import JobError, nearest_name, raise_all
from sakuga.render.queue.row import Row


def chosen(rows: Sequence[Row], words: Sequence[str], states: Sequence[str], what: str) -> list[Row]:
    """The jobs that ``words`` mean, which have to be in one of ``states`` to be ``what`` ("cancelled").

    Raises JobError, Several for words that mean none, several, or one in another state.
    """
    found, findings = dict[int, Row](), list[JobError]()
    for word in words:
        meant = [row for row in rows if word in _names(row)]
        fitting = [row for row in meant if row.state in states]
        if len(fitting) == 1:
            found[fitting[0].number] = fitting[0]
        elif not meant:
            findings.append(_unknown(word, rows))
        elif not fitting:
            told = ", ".join(f"job {row.number} is {row.state}" for row in meant)
            expected = f"a job that is {' or '.join(states)}"
            findings.append(JobError(f"{word} cannot be {what}", given=told, expected=expected, do="sakuga queue list"))
        else:
            told = ", ".join(f"{row.number} ({row.output})" for row in fitting)
            findings.append(JobError(f"{word} means several jobs", given=told, expected="one", do="give its number"))
    raise_all(findings)
    return list(found.values())


def _names(row: Row) -> tuple[str, ...]:
    source = Path(row.source)
    return (str(row.number), row.source, source.name, source.stem)


def _unknown(word: str, rows: Sequence[Row]) -> JobError:
    return JobError(
        "the queue has no such job",
        given=word[:80],
        expected="a number of the list, or the name of a clip in it",
        nearest=nearest_name(word, [Path(row.source).name for row in rows]),
        do="sakuga queue list",
    )
