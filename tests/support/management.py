"""Commands of ``manage.py`` run in this process, where starting one of their own is not what is tested."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

from django.core.management import execute_from_command_line


def managed(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a shell in ``directory`` gets of ``manage.py`` with these arguments: status, output and errors."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            execute_from_command_line(["manage.py", *arguments])
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())
