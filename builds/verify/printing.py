"""Findings as a table and as JSON; what strangers wrote is cleaned here and nowhere else."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from builds.domain.printable import on_terminal
from builds.verify.findings import ALLOW, COULD_NOT_CHECK, DENY, Finding, State, exit_code

_DECISIONS: Final = {ALLOW: "allow", DENY: "deny", COULD_NOT_CHECK: "could not check"}
_HEADER = ("AXIS", "STATE", "REASON", "WHO SAYS SO")


def report(findings: Sequence[Finding], subject: str, *, as_json: bool, stream: TextIO | None = None) -> int:
    """Print every finding and the decision; the exit code is returned."""
    out = stream or sys.stdout
    code = exit_code(findings)
    if as_json:
        document = {
            "subject": subject,
            "decision": _DECISIONS[code],
            "exitCode": code,
            "findings": [finding.as_dict() for finding in findings],
        }
        # ASCII only: what moves a cursor or turns the writing stays escaped.
        out.write(f"{json.dumps(document, indent=2)}\n")
    else:
        for line in _table(findings):
            write_line(out, line)
        write_line(out, f"{subject}: {_DECISIONS[code]}{_because(findings, code)}")
    return code


def write_line(stream: TextIO, text: str) -> None:
    """One clean line; a terminal that has not every character gets a question mark."""
    encoding = stream.encoding or "utf-8"
    stream.write(f"{on_terminal(text).encode(encoding, 'replace').decode(encoding)}\n")


def _table(findings: Sequence[Finding]) -> list[str]:
    rows = [_HEADER, *((entry.axis, entry.state.value, entry.reason, entry.said_by) for entry in findings)]
    clean = [[on_terminal(cell) for cell in row] for row in rows]
    first, second = (max(len(row[column]) for row in clean) for column in (0, 1))
    return [f"{row[0]:<{first}}  {row[1]:<{second}}  {row[2]}  [{row[3]}]" for row in clean]


def _because(findings: Sequence[Finding], code: int) -> str:
    wanted = {DENY: State.FAILED, COULD_NOT_CHECK: State.UNCHECKED}.get(code)
    axes = dict.fromkeys(finding.axis for finding in findings if finding.state is wanted)
    return f" ({', '.join(axes)})" if axes else ""
