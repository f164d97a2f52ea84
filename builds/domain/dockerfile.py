"""What a Dockerfile of an audited source may ask of the engine, checked before the engine sees it.

``--network none`` only holds for RUN. FROM, COPY --from and ADD make the *daemon* fetch, and a
``syntax`` directive makes it pull a frontend; so these are refused unless they name something
that this rebuild made itself. Instruction reference: Docker's Dockerfile reference, classic builder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builds.domain.errors import MalformedInput

MAX_DOCKERFILE_BYTES = 256 * 1024

# Directives change how the rest is read, differently between engine versions; nobody needs them here.
_DIRECTIVE = re.compile(r"^#\s*(escape|syntax)\s*=", re.IGNORECASE)
_FROM = re.compile(r"^FROM\s+((?:--\S+\s+)*)(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_PLAIN_LABELS = re.compile(r'LABEL(?: [A-Za-z0-9._/-]+=(?:"[^"$\\\\]*"|[A-Za-z0-9._:/+@-]*))+', re.IGNORECASE)
_BASE_REFERENCES = frozenset({"${BASE_IMAGE}", "$BASE_IMAGE"})


class RefusedDockerfile(MalformedInput):
    """The Dockerfile is unreadable or would make the engine fetch something."""

    code = "refused-dockerfile"
    default_todo = (
        "Start every stage from ${BASE_IMAGE}, scratch or an earlier stage, and fetch inputs as locked materials."
    )


@dataclass(frozen=True, slots=True)
class Instruction:
    """A logical line: continuation lines joined, with the index one past its last physical line."""

    text: str
    end_line: int

    @property
    def keyword(self) -> str:
        return self.text.split(None, 1)[0].upper()


def instructions(lines: list[str]) -> Iterator[Instruction]:
    """Join continuation lines as the classic builder does: comments inside are dropped."""
    parts: list[str] = []
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if stripped.startswith("#") or (not stripped and not parts):
            continue
        if stripped.endswith("\\"):
            parts.append(stripped[:-1])
            continue
        parts.append(stripped)
        text = " ".join(" ".join(parts).split())
        parts = []
        if text:
            yield Instruction(text, number)
    if text := " ".join(" ".join(parts).split()):
        yield Instruction(text, len(lines))


def _read_lines(data: bytes, where: str) -> list[str]:
    """The physical lines; anything the engine might split or join differently is refused."""
    if len(data) > MAX_DOCKERFILE_BYTES:
        raise RefusedDockerfile(f"the Dockerfile is larger than {MAX_DOCKERFILE_BYTES} bytes", where=where)
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise RefusedDockerfile("the Dockerfile is not UTF-8 text", where=where) from error
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if any(character not in " \t" and (character.isspace() or not character.isprintable()) for character in line):
            raise RefusedDockerfile(
                "unusual white space or control characters could hide an instruction", where=f"{where}, line {number}"
            )
        if _DIRECTIVE.match(line.strip()):
            raise RefusedDockerfile(
                "escape and syntax directives are not accepted: they change how the file is read or pull a frontend",
                where=f"{where}, line {number}",
            )
    return lines


def prepare(data: bytes, labels: Mapping[str, str], *, where: str, network: bool = False) -> bytes:
    """Check a Dockerfile and return it with ``labels`` set right after each FROM.

    Labels put there are inherited by every intermediate image and container of the stage, which is
    how the reaper finds what a killed build left. ``network`` lifts the bar on ADD of addresses
    for a recipe that openly asks for the network. Raises ``RefusedDockerfile``.
    """
    lines = _read_lines(data, where)
    stages: list[str] = []
    label_line = "LABEL " + " ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    insertions: list[int] = []
    for instruction in instructions(lines):
        line_where = f"{where}, line {instruction.end_line}"
        match instruction.keyword:
            case "FROM":
                stages.append(_check_from(instruction.text, stages, line_where))
                insertions.append(instruction.end_line)
            case "COPY":
                _check_copy(instruction.text, stages, line_where)
            case "ADD":
                _check_add(instruction.text, line_where, network=network)
            case "LABEL":
                _check_label(instruction.text, labels, line_where)
            case "RUN" if instruction.text[4:].startswith("--"):
                raise RefusedDockerfile("RUN with flags may mount what no stage of this file made", where=line_where)
            case "ONBUILD":
                raise RefusedDockerfile("ONBUILD hides instructions from this check", where=line_where)
            case _:
                pass
    if not stages:
        raise RefusedDockerfile("the Dockerfile has no FROM", where=where)
    for index in reversed(insertions):
        lines.insert(index, label_line)
    return ("\n".join(lines) + "\n").encode()


def _check_from(text: str, stages: list[str], where: str) -> str:
    """Check one FROM; returns the stage's name, or its number where it has none."""
    match = _FROM.match(text)
    if match is None:
        raise RefusedDockerfile(f"{text[:120]!r} is not a FROM this check understands", where=where)
    flags, image, alias = match.groups()
    if flags.strip():
        raise RefusedDockerfile(f"FROM flags {flags.strip()!r} are not accepted", where=where)
    if image not in _BASE_REFERENCES and image != "scratch" and image.lower() not in stages:
        raise RefusedDockerfile(f"FROM {image[:120]} would make the engine pull an image", where=where)
    return (alias or str(len(stages))).lower()


def _check_copy(text: str, stages: list[str], where: str) -> None:
    for word in text.split()[1:]:
        if not word.startswith("--"):
            return
        name, _, value = word.partition("=")
        if name.lower() == "--from" and value.lower() not in stages and value not in map(str, range(len(stages))):
            raise RefusedDockerfile(f"COPY --from={value[:120]} is no earlier stage of this file", where=where)


def _check_label(text: str, ours: Mapping[str, str], where: str) -> None:
    """A label of ours, overwritten, would hide a build from its limits and from the reaper.

    Variables, escapes and quotes inside a key could spell one, so only the plain form is accepted.
    """
    if not _PLAIN_LABELS.fullmatch(text):
        raise RefusedDockerfile('LABEL is accepted as key=value or key="value" without variables only', where=where)
    for word in text.split()[1:]:
        if word.partition("=")[0].lower() in ours:
            raise RefusedDockerfile(f"the label {word.partition('=')[0]} is the builder's own", where=where)


def _check_add(text: str, where: str, *, network: bool) -> None:
    if network:
        return
    if "://" in text or "$" in text or "git@" in text or "--" in text:
        raise RefusedDockerfile("ADD of an address, a variable or with flags may make the engine download", where=where)
