"""``python -m sakuga`` is the same as the command ``sakuga``."""

from __future__ import annotations

import sys

from sakuga.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
