"""What a text that somebody pasted may be, and how two digests are alike: pure, and nothing is taken for sure."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from builds.domain.tags import is_git_tag

MOST_CHARACTERS = 400
"""Of what is searched for; a longer text is none of what is known here."""
LEAST_OF_COMMIT = 6
LEAST_OF_DIGEST = 8
"""A shorter beginning is shared by digests that have nothing to do with each other."""
LEAST_OF_REBUILD = 8
"""The first block of a rebuild's id."""
COMMIT_CHARACTERS = 40
UUID_CHARACTERS = 36

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_NAMED = re.compile(r"(?:(sha256|sha384|sha512)[:-]|0x)?([0-9a-f]+)", re.ASCII)
"""With a colon as most write it, or with a dash as tags of container registries do."""
_PROJECT = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_BYTES = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2})+", re.ASCII)
"""As fingerprints are often written: bytes with colons between them."""
_UUID_DIGITS = 32
_AROUND = " \t\r\n\"'`,;<>()[]{}"


class Kind(StrEnum):
    """What a text may be, in the order in which it is looked for."""

    SHA384 = "launch measurement or sha384 digest"
    SHA256 = "sha256 digest"
    SHA512 = "sha512 digest"
    COMMIT = "commit"
    REBUILD = "rebuild"
    RELEASE = "project and tag"
    TAG = "tag"
    PROJECT = "project"
    OPERATOR = "operator"
    CUT = "part of a digest"


_BY_LENGTH = {64: Kind.SHA256, 96: Kind.SHA384, 128: Kind.SHA512}
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing that the text may be: ``value`` is as that thing is written here."""

    kind: Kind
    value: str

    @property
    def words(self) -> str:
        """What it is taken for, as a clause without its value."""
        count = len(self.value)
        match self.kind:
            case Kind.COMMIT:
                whole = count == COMMIT_CHARACTERS
                return "a commit" if whole else f"the first {count} characters of a commit"
            case Kind.CUT:
                return (
                    f"{count} hexadecimal characters, which no digest has (64, 96 or 128): one that was cut, or typed"
                )
            case Kind.REBUILD:
                whole = count == UUID_CHARACTERS
                return "a rebuild" if whole else f"the first {count} characters of a rebuild's id"
            case Kind.OPERATOR:
                return "an operator"
            case Kind.RELEASE:
                return "a project and a tag"
            case kind:
                return f"a {kind.value}"


@dataclass(frozen=True, slots=True)
class Query:
    """What was pasted, without what stood around it, and everything it may be; nothing when it is no such thing."""

    text: str
    readings: tuple[Reading, ...]

    def value(self, kind: Kind) -> str:
        """The text as a thing of this kind is written; "" when it cannot be one."""
        return next((reading.value for reading in self.readings if reading.kind is kind), "")

    @property
    def digest(self) -> str:
        """The hexadecimal characters of a whole digest; "" when it is none."""
        return self.value(Kind.SHA256) or self.value(Kind.SHA384) or self.value(Kind.SHA512)

    @property
    def hexadecimal(self) -> str:
        """What known digests are held against for likeness; "" when it is too short or no hexadecimal."""
        whole = self.digest or self.value(Kind.CUT)
        commit = self.value(Kind.COMMIT)
        return whole or (commit if len(commit) == COMMIT_CHARACTERS else "")


def recognise(pasted: str) -> Query:
    """Everything that a pasted text may be.

    White space, quotes, what cannot be seen, ``0x``, an algorithm's name and upper case are taken away from hexadecimal
    first, also in the middle, since long digests are copied with line ends.
    """
    seen = "".join(
        character
        for character in pasted
        if unicodedata.category(character) not in {"Cf", "Cc"} or character in "\t\r\n"
    )
    text = " ".join(seen.strip(_AROUND).split())
    if not text or len(pasted) > MOST_CHARACTERS:
        return Query(text[:MOST_CHARACTERS], ())
    query = Query(text, tuple(_hexadecimal(text)))
    # Nothing else is called like a whole digest.
    return query if query.digest else Query(text, (*query.readings, *_names(text)))


def _hexadecimal(text: str) -> list[Reading]:
    together = text.replace(" ", "").lower()
    if _BYTES.fullmatch(together):
        together = together.replace(":", "")
    found = []
    named = _NAMED.fullmatch(together)
    if named is not None:
        algorithm, value = named.groups()
        kind = _BY_LENGTH.get(len(value))
        if kind is not None and (algorithm is None or _LENGTHS[algorithm] == len(value)):
            found.append(Reading(kind, value))
        elif len(value) >= LEAST_OF_DIGEST and (algorithm is not None or len(value) != COMMIT_CHARACTERS):
            found.append(Reading(Kind.CUT, value))
        if algorithm is None and LEAST_OF_COMMIT <= len(value) <= COMMIT_CHARACTERS:
            found.insert(0, Reading(Kind.COMMIT, value))
    if name := _rebuild_id(together.removeprefix("urn:uuid:")):
        found.append(Reading(Kind.REBUILD, name))
    return found


def _rebuild_id(text: str) -> str:
    """A rebuild's id or its beginning, with dashes as it is written here; "" when it cannot be one."""
    value = text.replace("-", "")
    if not (_HEX.fullmatch(value) and LEAST_OF_REBUILD <= len(value) <= _UUID_DIGITS):
        return ""
    whole = str(uuid.UUID(value.ljust(_UUID_DIGITS, "0")))
    written = next(whole[:count] for count in range(len(whole) + 1) if whole[:count].replace("-", "") == value)
    return written if text.rstrip("-") in {value, written} else ""


def _names(text: str) -> list[Reading]:
    found = []
    for between in (" ", "/"):
        project, _, rest = text.partition(between)
        if rest and _PROJECT.fullmatch(project) and is_git_tag(rest):
            found.append(Reading(Kind.RELEASE, f"{project} {rest}"))
    tag = text.removeprefix("refs/tags/")
    if is_git_tag(tag):
        found.append(Reading(Kind.TAG, tag))
    if _PROJECT.fullmatch(text):
        found += [Reading(Kind.PROJECT, text), Reading(Kind.OPERATOR, text)]
    return found


def tag_spellings(tag: str) -> frozenset[str]:
    """The tag in small letters as others write it: with and without the ``v`` in front."""
    small = tag.lower()
    return frozenset({small, f"v{small}", small.removeprefix("v")} - {""})


def shared_start(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginnings."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def apart(pasted: str, known: str) -> tuple[str, str, str]:
    """A known digest in three parts: as what was pasted begins, what is not the same, and as it ends."""
    if known.endswith(pasted):
        return "", known[: len(known) - len(pasted)], pasted
    start = shared_start(pasted, known)
    end = min(shared_start(pasted[::-1], known[::-1]), min(len(pasted), len(known)) - start)
    return known[:start], known[start : len(known) - end], known[len(known) - end :]


def likeness(pasted: str, known: str) -> str:
    """How a pasted text and a known digest are alike, as a clause about the known one; both in lower-case hex."""
    start, _, end = map(len, apart(pasted, known))
    if len(pasted) == len(known):
        return _of_same_length(pasted, known, start, end)
    if end_words := _as_an_end(pasted, known):
        return end_words
    if start + end == len(pasted) == len(known) - 1:
        return f"has one character more, number {start + 1}"
    if start + end == len(known) == len(pasted) - 1:
        return f"has one character less: number {start + 1} of what was pasted is too many"
    return f"has the first {start} and the last {end} characters in common"


def _as_an_end(pasted: str, known: str) -> str:
    """Where one of the two is the beginning or the end of the other, which; "" elsewhere."""
    if known.startswith(pasted):
        return "begins with what was pasted"
    if known.endswith(pasted):
        return "ends with what was pasted"
    if pasted.startswith(known):
        return f"is the first {len(known)} characters of what was pasted"
    return f"is the last {len(known)} characters of what was pasted" if pasted.endswith(known) else ""


def _of_same_length(pasted: str, known: str, start: int, end: int) -> str:
    apart = len(pasted) - start - end
    if apart <= 0:
        return "is the same"
    if apart == 1:
        return f"differs in one character, number {start + 1}"
    middle = slice(start, start + apart)
    if apart == 2 and pasted[middle] == known[middle][::-1]:  # noqa: PLR2004 - a pair
        return f"has characters {start + 1} and {start + 2} the other way round"
    return f"has the first {start} and the last {end} characters in common"
