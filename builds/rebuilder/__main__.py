"""``python -m builds.rebuilder``: the same as the console script."""

from __future__ import annotations

import sys

from builds.rebuilder.cli import main

sys.exit(main())
