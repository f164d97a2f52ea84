"""Findings as a table and as JSON; what strangers wrote is cleaned here and nowhere else."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, TextIO

from builds.domain.errors import PortalError
from builds.domain.printable import on_terminal, without_gaps
from builds.verify.findings import ALLOW, COULD_NOT_CHECK, DENY, Finding, State, exit_code

_DECISIONS: Final = {ALLOW: "allow", DENY: "deny", COULD_NOT_CHECK: "could not check"}
# Axes are words of this program, and operators by the names that an address can carry.
_NO_AXIS: Final = re.compile("[^A-Za-z0-9 -]+")
_HEADER = ("AXIS", "STATE", "REASON", "WHO SAYS SO")


class CannotPrint(PortalError):
    """What was decided could not be written to where it was to go."""

    code: ClassVar[str] = "cannot-print"
    default_todo: ClassVar[str] = "Give the output a place to go."


def report(findings: Sequence[Finding], subject: str, *, as_json: bool, stream: TextIO | None = None) -> int:
    """Print every finding and the decision; the exit code is returned."""
    code = exit_code(findings)
    if as_json:
        document = {
            "subject": subject,
            "decision": _DECISIONS[code],
            "exitCode": code,
            "findings": [finding.as_dict() for finding in findings],
        }
        _print([_json(document)], stream or sys.stdout)
    else:
        last = f"{subject}: {_DECISIONS[code]}{_because(findings, code)}"
        _print([*_table(findings), _clean(last)], stream or sys.stdout)
    return code


def complain(error: PortalError, *, as_json: bool) -> int:
    """One line on standard error, and for who reads JSON a document: nothing was decided."""
    if as_json:
        document = {"decision": _DECISIONS[COULD_NOT_CHECK], "exitCode": COULD_NOT_CHECK, **error.as_dict()}
        _quietly([_json(document)], sys.stdout)
    _quietly([_clean(f"{error.code}: {error}")], sys.stderr)
    return COULD_NOT_CHECK


def print_line(text: str) -> None:
    """One clean line on standard output."""
    _print([_clean(text)], sys.stdout)


def _clean(text: str) -> str:
    """One line that nothing in it can make look like two: a row that ends in the decision is the last one only."""
    return without_gaps(on_terminal(text))


def _json(document: object) -> str:
    # ASCII only: what moves a cursor or turns the writing stays escaped.
    return json.dumps(document, indent=2)


def _print(lines: Iterable[str], stream: TextIO | None) -> None:
    """To a reader who may be gone, which changes no decision. Raises ``CannotPrint`` for a disk that is full."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        for line in lines:
            # A terminal that has not every character gets a question mark.
            stream.write(f"{line.encode(encoding, 'replace').decode(encoding)}\n")
        stream.flush()
    except BrokenPipeError:
        _to_nowhere(stream)
    except OSError as error:
        _to_nowhere(stream)
        raise CannotPrint(f"{error.strerror}", where="output") from error


def _quietly(lines: Iterable[str], stream: TextIO | None) -> None:
    try:
        _print(lines, stream)
    except CannotPrint:
        return


def _to_nowhere(stream: TextIO) -> None:
    """What is still held for the reader must not fail again when the program ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _table(findings: Sequence[Finding]) -> list[str]:
    rows = [_HEADER, *((entry.axis, entry.state.value, entry.reason, entry.said_by) for entry in findings)]
    clean = [[_clean(cell) for cell in row] for row in rows]
    first, second = (max(len(row[column]) for row in clean) for column in (0, 1))
    return [f"{row[0]:<{first}}  {row[1]:<{second}}  {row[2]}  [{row[3]}]" for row in clean]


def _because(findings: Sequence[Finding], code: int) -> str:
    wanted = {DENY: State.FAILED, COULD_NOT_CHECK: State.UNCHECKED}.get(code)
    axes = dict.fromkeys(_NO_AXIS.sub("?", finding.axis) for finding in findings if finding.state is wanted)
    return f" ({', '.join(axes)})" if axes else ""
