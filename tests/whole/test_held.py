"""Held frames in a whole run: drawn once, told, and the same as drawing each where noise is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

STAGE: dict[str, Any] = {"prompt": "ink", "steps": 2, "motion": "none", "controls": ["tile"], "strength": 0.7}


@pytest.fixture
def on_threes(made: Any) -> Path:
    """Six frames that show two drawings, three frames each."""
    path: Path = made.folder / "threes"
    path.mkdir()
    for number in range(6):
        data = made.picture(f"drawing{number // 3}.png", index=8 * (number // 3)).read_bytes()
        (path / f"{number}.png").write_bytes(data)
    return path


def test_a_held_drawing_is_drawn_once(draw: Any, on_threes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sakuga.render.run as run

    before, rows = run.render_span, list[int]()

    def counted(stage: Any, applied: Any, pictures: Any, *words: Any, **named: Any) -> Any:
        rows.append(len(pictures))
        return before(stage, applied, pictures, *words, **named)

    monkeypatch.setattr(run, "render_span", counted)
    once = draw(on_threes, STAGE | {"noise": "shared"})
    each = draw(on_threes, STAGE | {"noise": "shared"}, held="each")
    assert rows == [2, 6]
    assert once.apart(each).max() <= 1
    assert np.array_equal(once.frames[0], once.frames[2]) and not np.array_equal(once.frames[2], once.frames[3])
    assert once.report.clip["held"] == 4 and "held" not in each.report.clip
    assert any("4 frames did not change" in note.reason for note in once.report.notes)


def test_weights_that_change_over_frames_draw_each(draw: Any, on_threes: Path) -> None:
    moving = draw(on_threes, STAGE | {"noise": "shared", "adapters": ["ink:0->1@frames"]})
    assert "held" not in moving.report.clip
    assert moving.apart(np.roll(moving.frames, 1, axis=0))[1:].max(axis=(1, 2, 3)).min() > 0
