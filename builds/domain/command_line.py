"""What a kernel makes of its command line, and who says of it that it is a good one.

A command line is in the launch measurement, so that a machine cannot be given another one unseen. It says nothing of
what its words do: which program runs first, which code is skipped, what the image's own programs are told. What a
publisher published is the publisher's affair; any other line is held against the published ones here, word by word,
and what is not known to be harmless denies until whoever runs it vouches for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from builds.domain.printable import one_line

_INIT = frozenset({b"init", b"rdinit"})
"""Parameters that name the first program: of the root file system, and of the initrd."""
_KERNEL_SPACE = frozenset(b"\t\n\v\f\r \xa0")
"""What lib/ctype.c of Linux calls a space: bytes, of Latin-1."""
_QUOTE = ord('"')
_PLAIN = re.compile(r"[ -~]*", re.ASCII)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OWN_UUID = re.compile(rf"([A-Za-z0-9_.-]+)={_UUID}", re.ASCII | re.IGNORECASE)
_HARMLESS = re.compile(
    r"quiet|loglevel=[0-7]|panic=-?[0-9]{1,6}|console=tty[A-Za-z]{0,6}[0-9]{0,3}(,[0-9]{1,7}[noe]?[0-9]?r?)?"
)
"""Where the kernel's own messages go, and how long it waits after a panic: these start no other program."""
_MOST_WORDS = 5


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a command line that nobody published is not simply allowed."""

    replaces_init: bool
    """Whether it starts another program than the image's init: then nobody's word helps."""
    sentence: str


def objection_to(command_line: str, published: Collection[str], *, is_vouched_for: bool) -> Objection | None:
    """What stands against a command line; None for a published one, and for what differs from one harmlessly.

    Harmless are another UUID for a parameter that has one in a published line (of an operator's own disk), and a few
    parameters about messages. ``is_vouched_for`` says that whoever asks answers for all the rest.
    """
    if command_line in published:
        return None
    replacing = init_replacement(command_line)
    if replacing is not None:
        what = f"The command line names another first program than the image's init: {one_line(replacing, 100)}."
        return Objection(replaces_init=True, sentence=what)
    known = published or ("",)
    if is_vouched_for or any(_differs_harmlessly(command_line, line) for line in known):
        return None
    return Objection(replaces_init=False, sentence=_unknown_sentence(command_line, known))


def init_replacement(command_line: str) -> str | None:
    """The parameter by which a command line replaces init; None when the image's own is started.

    Read byte for byte as ``next_arg`` of Linux does (lib/cmdline.c). Of several parameters the last one decides, and
    each counts here: also behind a bare ``--``, where the kernel ends (kernel/params.c, ``parse_args``) and an initrd
    whose own program reads /proc/cmdline, as initramfs-tools' does, goes on.
    """
    for name, value in _parameters(command_line.encode("utf-8", "surrogatepass")):
        if name in _INIT and value is not None:
            return f"{name.decode()}={value.decode(errors='backslashreplace')}"
    return None


def _parameters(line: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Names and values (None: no equals sign) as the kernel sees them."""
    line = line.partition(b"\0")[0]
    place = _after_space(line, 0)
    while place < len(line):
        is_quoted = line[place] == _QUOTE
        start = place + is_quoted
        end, equals = _end_of(line, start, is_quoted=is_quoted)
        yield _split(line[start:end], equals, is_quoted=is_quoted)
        place = _after_space(line, end + 1)


def _end_of(line: bytes, start: int, *, is_quoted: bool) -> tuple[int, int]:
    """Where a parameter ends, and its first equals sign that is not its first character (0: none)."""
    equals, place = 0, start
    while place < len(line) and (is_quoted or line[place] not in _KERNEL_SPACE):
        if line[place] == ord("=") and equals == 0:
            equals = place - start
        is_quoted ^= line[place] == _QUOTE
        place += 1
    return place, equals


def _split(word: bytes, equals: int, *, is_quoted: bool) -> tuple[bytes, bytes | None]:
    """A quote before a parameter or its value, and the one at its end, do not belong to it."""
    name, value = (word[:equals], word[equals + 1 :]) if equals else (word, None)
    if value is None:
        return (name.removesuffix(b'"') if is_quoted else name), None
    if value.startswith(b'"'):
        return name, value[1:].removesuffix(b'"')
    return name, value.removesuffix(b'"') if is_quoted else value


def _after_space(line: bytes, place: int) -> int:
    while place < len(line) and line[place] in _KERNEL_SPACE:
        place += 1
    return place


def _differs_harmlessly(command_line: str, published: str) -> bool:
    if not (_PLAIN.fullmatch(command_line) and _PLAIN.fullmatch(published)):
        return False
    missing, added = _differences(_words(command_line), _words(published))
    return not missing and not added


def _differences(own: Sequence[str], published: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of the published line that are not there in its order, and own words that are not known to be harmless.

    None is harmless behind a bare ``--``: there it is init's.
    """
    rest, added = list(published), []
    is_before_end = True
    for word in own:
        if rest and (word == rest[0] or _same_but_uuid(word, rest[0])):
            rest.pop(0)
        elif not (is_before_end and _HARMLESS.fullmatch(word)):
            added.append(word)
        is_before_end = is_before_end and word != "--"
    return rest, added


def _same_but_uuid(one: str, other: str) -> bool:
    mine, theirs = _OWN_UUID.fullmatch(one), _OWN_UUID.fullmatch(other)
    return mine is not None and theirs is not None and mine[1] == theirs[1]


def _words(line: str) -> list[str]:
    """Parts between spaces that stand in no quotes, each as it is written."""
    return re.findall(r'(?:[^ "]|"[^"]*(?:"|$))+', line)


def _unknown_sentence(command_line: str, published: Collection[str]) -> str:
    """Which words nobody vouches for, against the published line that it is likest."""
    if not _PLAIN.fullmatch(command_line):
        return "Nobody published this command line, and it holds characters other than plain text."
    found = [_differences(_words(command_line), _words(line)) for line in published]
    missing, added = min(found, key=lambda entry: len(entry[0]) + len(entry[1]))
    parts = [f"{verb} {_listed(words)}" for verb, words in (("adds", added), ("leaves out", missing)) if words]
    return f"Nobody published this command line: it {' and '.join(parts)}, and nobody vouches for what that does."


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(one_line(word, 60) for word in words[:_MOST_WORDS])
    return f"{shown} and more" if len(words) > _MOST_WORDS else shown
