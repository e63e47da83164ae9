"""Part of the frames of a call at a time, for networks without a motion module: less memory, and the same answer unless
frames look at each other, who then see those of their part alone.

Refuses to part the halves: each part has its frames in all halves of the call.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from sakuga.render.denoisers import Call, Residuals
from sakuga.render.denoisers.predict import Predict


def chunked(predict: Predict, size: int) -> Predict:
    """``predict``, for at most ``size`` frames of a call at a time."""

    def ask(x: Tensor, call: Call, residuals: Residuals | None = None) -> Tensor:
        count = len(call.frames)
        answer = x.new_empty(x.shape)
        for first in range(0, count, size):
            inner = range(first, min(first + size, count))
            rows = [half * count + frame for half in range(len(call.halves)) for frame in inner]
            part = replace(call, frames=call.frames[inner.start : inner.stop])
            some = None
            if residuals is not None:
                down, middle = residuals
                some = ([skip[rows] for skip in down], middle[rows])
            answer[rows] = predict(x[rows], part, some).to(answer)
        return answer

    return ask
