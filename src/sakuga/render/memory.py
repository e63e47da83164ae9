"""How much memory this process has taken at most, for the Report. Asks the system; estimates nothing."""

from __future__ import annotations

import resource
import sys


def peak_bytes() -> int:
    """The largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes
