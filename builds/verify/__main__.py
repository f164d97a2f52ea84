"""``python -m builds.verify`` and the console script: a start that fails must not end as a deny."""

from __future__ import annotations

import os
import sys

_COULD_NOT_CHECK = 2


def run() -> int:
    """The program's exit code. Python ends with 1 for whatever breaks, which here says that somebody tampered; what is
    imported is most of the program, and so is imported inside the guard.
    """
    try:
        # Too little memory, a package that is missing or broken, and Ctrl-C meanwhile.
        from builds.verify.cli import main  # noqa: PLC0415

        return main()
    except BaseException as error:  # noqa: BLE001 - whatever it is, nothing was decided
        _say(type(error).__name__)
        return _COULD_NOT_CHECK


def _say(name: str) -> None:
    """Without what may be missing: memory for buffers, or a reader."""
    todo = "Give it more memory, or install it again."
    try:
        os.write(2, f"unforeseen: {name}, and nothing was decided (this program's start). {todo}\n".encode())
    except (OSError, MemoryError):
        return


if __name__ == "__main__":
    sys.exit(run())
