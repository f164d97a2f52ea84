"""``python -m builds.verify``: the same as the console script."""

from __future__ import annotations

import sys

from builds.verify.cli import main

sys.exit(main())
