"""Files with every kind of fault, thousands of them: each is used with an account of its keys, or refused in words."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tests.fuzz.campaign import Campaign

CASES, SEED = 5000, 20_260
KINDS = 150  # different ways in which files are taken or refused: fewer would mean that the faults are all alike


def test_no_file_crashes_hangs_or_goes_unaccounted(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SEED)
    faults = [
        f"case {case.number} ({case.sample.name}): {case.outcome.fault}"
        for case in islice(campaign.cases(), CASES)
        if case.outcome.fault
    ]
    assert not faults, "\n" + "\n".join(faults[:10])
    assert len(campaign.seen) >= KINDS
    used = sum(count for kind, count in campaign.seen.items() if kind.startswith("read "))
    assert CASES // 20 < used < CASES * 19 // 20
