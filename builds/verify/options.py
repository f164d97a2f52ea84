"""How arguments are read: nothing abbreviated, nothing twice, and no text that came as data ends as an allow."""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from datetime import timedelta
from typing import Any, ClassVar, Final, NoReturn

from builds.domain.errors import MalformedInput
from builds.domain.guest_features import why_unusable
from builds.domain.launch import FEATURES_END, MAX_VCPUS

HELP: Final = ("-h", "--help")
_DURATION = re.compile("([0-9]{1,6})([smhd])", re.ASCII)
_SIZE = re.compile("([1-9][0-9]{0,5})(MiB|GiB)", re.ASCII)
_BYTES: Final = {"MiB": 1024**2, "GiB": 1024**3}
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Misused(MalformedInput):
    """Arguments that the program does not understand."""

    code: ClassVar[str] = "misused"
    default_todo: ClassVar[str] = "Give --help after the command."


class Parser(ArgumentParser):
    """Subcommands take this class too. Its help is an error: a variable that holds ``-h`` must not be an allow."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False, add_help=False)
        # What an option of no other action does, in groups too.
        self.register("action", None, _Once)
        self.add_argument(*HELP, action=_Help, nargs=0, help="show this; it decides nothing and ends with code 2")

    def error(self, message: str) -> NoReturn:
        raise Misused(message, where=self.prog)


class _Once(Action):
    """An option whose last value would silently stand for all."""

    def __call__(self, parser: ArgumentParser, given: Namespace, values: object, option: str | None = None) -> None:
        if getattr(given, self.dest) is not None:
            parser.error(f"{option} is given more than once")
        setattr(given, self.dest, values)


class _Help(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
        parser.print_help()
        todo = "Leave it out to decide. Where a variable may begin with a hyphen, put -- before it."
        raise Misused("help was asked for, and nothing was decided", where=parser.prog, todo=todo)


def duration(text: str) -> timedelta:
    """Such as ``7d``."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text[:40]!r} is no duration such as 90s, 30m, 12h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def size(text: str) -> int:
    """Such as ``20GiB``, in bytes."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text[:40]!r} is no size such as 512MiB or 20GiB")
    return int(found[1]) * _BYTES[found[2]]


def positive(text: str) -> int:
    """A number of operators."""
    return _number(text, 1, 10_000)


def vcpus(text: str) -> int:
    """A number of vCPUs that a machine can have."""
    return _number(text, 1, MAX_VCPUS)


def features(text: str) -> int:
    """SEV_FEATURES that an SEV-SNP guest can start with."""
    value = _number(text, 0, FEATURES_END - 1)
    if why := why_unusable(value):
        raise ArgumentTypeError(f"{text[:40]!r} {why}")
    return value


def _number(text: str, low: int, high: int) -> int:
    try:
        value = int(text[:30], 0)
    except ValueError as error:
        raise ArgumentTypeError(f"{text[:40]!r} is no number") from error
    if not low <= value <= high:
        raise ArgumentTypeError(f"{value} is not from {low} to {high}")
    return value
