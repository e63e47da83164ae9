"""How long ``import sakuga``, reading a job and ``sakuga --help`` take, as multiples of a bare Python.

Each is a fresh process, timed from outside; the rounds are interleaved, so that a busy moment meets all of them.
Measures a warm disk cache, which is what a person meets from the second command on.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "bare Python": ["-c", "pass"],
    "import sakuga": ["-c", "import sakuga"],
    "read a job": ["-c", "from sakuga import load_job; load_job('source: clip.mp4')"],
    "sakuga --help": ["-m", "sakuga", "--help"],
    "sakuga render --help": ["-m", "sakuga", "render", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each case is timed (default: 9)")
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for words in CASES.values():
        run(words)  # fills the disk cache and writes the .pyc files
    for _ in range(rounds):
        for name, words in CASES.items():
            seconds[name].append(run(words))
    bare = statistics.median(seconds["bare Python"])
    print(f"{'':22}{'min':>8}{'median':>10}{'of bare':>10}   ({rounds} rounds, Python {sys.version.split()[0]})")
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"{name:22}{min(taken):>7.3f}s{middle:>9.3f}s{middle / bare:>9.1f}x")


def run(words: list[str]) -> float:
    """The seconds that one fresh Python takes for ``words``."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
