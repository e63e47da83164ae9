"""The fuzz test as a command that runs on: ``python -m tests.fuzz.run --hours N --seed S --corpus FOLDER``.

Files in FOLDER are material beside the project's own; what goes wrong is written to FOLDER/found, with a line about it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from tests.fuzz.campaign import Campaign, Case

MEMORY_BYTES = (
    6 * 2**30
)  # of addresses: a file that makes the reader take more ends in a MemoryError, which is a finding
LARGEST_BYTES = 2**20  # of a file in FOLDER
EVERY = 10_000  # cases between two lines


def main() -> int:
    """Run until the time or the number of cases is over. Returns 1 when something was found."""
    parser = argparse.ArgumentParser(description="Feed broken adapter files to the reader and the engine.")
    parser.add_argument("--hours", type=float, default=1.0, help="how long to run (default: 1)")
    parser.add_argument("--cases", type=int, default=0, help="stop after so many cases (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    parser.add_argument(
        "--corpus", type=Path, required=True, help="a folder of files to begin with, and for what is found"
    )
    options = parser.parse_args()
    found = options.corpus / "found"
    found.mkdir(parents=True, exist_ok=True)
    faulthandler.enable()
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    more = [path.read_bytes() for path in sorted(options.corpus.iterdir()) if _is_small_file(path)]
    faults, last, begun = 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), options.seed, more)
        for case in campaign.cases():
            last = case.number + 1
            if case.outcome.fault:
                faults += 1
                _keep(found, options.seed, case)
            if last % EVERY == 0:
                print(f"{last} cases, {len(campaign.seen)} kinds, {faults} faults", flush=True)
            if last == options.cases or time.monotonic() - begun > options.hours * 3600:
                break
    print(f"{last} cases in {time.monotonic() - begun:.0f} s: {len(campaign.seen)} kinds of outcomes, {faults} faults")
    return 1 if faults else 0


def _is_small_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST_BYTES


def _keep(found: Path, seed: int, case: Case) -> None:
    """The file, and beside it what went wrong; a later one of the same kind takes its place."""
    stem = "".join(letter if letter.isalnum() else "-" for letter in case.outcome.fault[:60])
    (found / f"{stem}.bin").write_bytes(case.sample.raw)
    told = {
        "fault": case.outcome.fault,
        "seed": seed,
        "case": case.number,
        "name": case.sample.name,
        "model": case.sample.model,
        "config": case.sample.config,
    }
    (found / f"{stem}.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
