"""Blocks of a page of the documentation: what is to be run, and the answer that is shown below it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
ANSWERS = frozenset({"json", "http", "text"})
ELIDED = "..."
"""Stands for any text, within a line or a string; in lists and objects of JSON whatever is not shown may be there."""


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is its first one in the page, ``why_not`` the page's word for one that is not run."""

    page: str
    line: int
    language: str
    text: str
    why_not: str | None

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Example:
    """A block of commands with the answer below it; None where the page shows none."""

    block: Block
    answer: Block | None


def blocks_of(path: Path) -> list[Block]:
    page = path.read_text()
    return [
        Block(path.name, page[: found.start("text")].count("\n") + 1, found["language"], found["text"], found["why"])
        for found in _FENCE.finditer(page)
    ]


def examples_of(path: Path) -> list[Example]:
    """Every block of commands, in order; an answer is what follows one before the next of them."""
    found: list[Example] = []
    for block in blocks_of(path):
        if block.language in ANSWERS and found and found[-1].answer is None and block.why_not is None:
            found[-1] = Example(found[-1].block, block)
        elif block.language not in ANSWERS:
            found.append(Example(block, None))
    return found


def differences(shown: Block, given: str) -> list[str]:
    """Where an answer is another one than the page shows; empty when it is the same."""
    match shown.language:
        case "json":
            return list(_unlike(json.loads(shown.text), json.loads(given), "$"))
        case "http":
            return _unlike_http(shown.text, given)
        case _:
            return _unlike_lines(shown.text.splitlines(), given.splitlines())


def _unlike(shown: Any, given: Any, where: str) -> list[str]:
    """A member or entry that is shown must be there; numbers, truth, null and emptiness are as they are shown."""
    if isinstance(shown, dict) and isinstance(given, dict):
        missing = [f"{where}.{name} is not there" for name in shown if name not in given]
        inside = [_unlike(value, given[name], f"{where}.{name}") for name, value in shown.items() if name in given]
        return missing + [entry for found in inside for entry in found]
    if isinstance(shown, list) and isinstance(given, list):
        if len(given) < len(shown) or (given and not shown):
            return [f"{where} has {len(given)} entries"]
        return [
            entry
            for at, pair in enumerate(zip(shown, given, strict=False))
            for entry in _unlike(*pair, f"{where}[{at}]")
        ]
    if isinstance(shown, str) and isinstance(given, str):
        return [] if _like(shown, given) else [f"{where} is {given!r}"]
    return [] if type(shown) is type(given) and shown == given else [f"{where} is {given!r}"]


def _unlike_http(shown: str, given: str) -> list[str]:
    """The status line, and each field that is shown; then the body as JSON where one is shown."""
    head, _, body = shown.partition("\n\n")
    told, _, came = given.replace("\r\n", "\n").partition("\n\n")
    status, *fields = head.splitlines()
    first, *lines = told.splitlines()
    unlike = [] if status.split()[1] == first.split()[1] else [f"the status is {first!r}"]
    there = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    for field in fields:
        name, _, value = field.partition(":")
        if not _like(value.strip(), there.get(name.lower(), "")):
            unlike.append(f"{name} is {there.get(name.lower())!r}")
    return unlike + (_unlike(json.loads(body), json.loads(came), "$") if body.strip() else [])


def _unlike_lines(shown: list[str], given: list[str]) -> list[str]:
    """Line by line; a line of nothing but ``...`` at the end leaves the rest open."""
    if shown and shown[-1] == ELIDED:
        shown = shown[:-1]
        given = given[: len(shown)]
    if len(shown) != len(given):
        return [f"it has {len(given)} lines: {given[:5]}"]
    return [
        f"{line!r} came for {wanted!r}" for wanted, line in zip(shown, given, strict=True) if not _like(wanted, line)
    ]


def _like(shown: str, given: str) -> bool:
    pattern = ".+".join(re.escape(part) for part in shown.split(ELIDED))
    return re.fullmatch(pattern, given, re.DOTALL) is not None
