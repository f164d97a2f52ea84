"""The form in which somebody asks about a launch configuration, field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from builds.domain.configuration import SNP_ONLY, VMMS, VOUCH, PublishedConfiguration, WantedConfiguration
from builds.domain.errors import MalformedInput
from builds.domain.guest_features import why_unusable
from builds.domain.launch import FEATURES_END, MAX_VCPUS, LaunchConfiguration
from builds.domain.recipe import MAX_COMMAND_LINE_BYTES
from builds.domain.roles import BootMode

_FEATURES = re.compile(r"0x[0-9a-f]{1,16}|[0-9]{1,20}", re.ASCII | re.IGNORECASE)
_NO_COMMAND_LINE = re.compile("[\0\n\ud800-\udfff]")
_FIRST = WantedConfiguration(LaunchConfiguration(BootMode.DIRECT_KERNEL, 1, "EPYC-v4", SNP_ONLY, VMMS[0]), "")


class UnusableValue(MalformedInput):
    """A value of a configuration's form that nothing can be computed for; ``where`` is its field."""

    code: ClassVar[str] = "unusable-value"
    default_todo: ClassVar[str] = "Correct the field and compute again."


@dataclass(frozen=True, slots=True)
class Asked:
    """A form as it was sent: what stands in each field, what is wrong with some, and what it asks for."""

    values: Mapping[str, str]
    problems: Mapping[str, UnusableValue]
    outcome: WantedConfiguration | UnusableValue
    """The first problem when there is one."""


def read_form(given: Mapping[str, str], base: PublishedConfiguration | None, vcpu_types: Collection[str]) -> Asked:
    """Read the form's fields; those that are not given stand as ``base`` has them.

    Every field that cannot be used is named with its reason and keeps what was sent. ``vcpu_types`` are those
    whose signature is known.
    """
    stated = WantedConfiguration(base.launch, base.command_line or "") if base is not None else _FIRST
    fields = _Fields({name: given.get(name, value) for name, value in stated.values.items()})
    boot_mode = fields.read("boot_mode", lambda text: BootMode(_one_of(text, tuple(BootMode))), BootMode.DIRECT_KERNEL)
    vcpus = fields.read("vcpus", _vcpus, 1)
    vcpu_type = fields.read("vcpu_type", lambda text: _one_of(text, vcpu_types), "")
    guest_features = fields.read("guest_features", _guest_features, SNP_ONLY)
    vmm = fields.read("vmm", lambda text: _one_of(text, VMMS), VMMS[0])
    command_line = ""
    if boot_mode is BootMode.DIRECT_KERNEL:
        known = base.command_line if base is not None else None
        missing = base is not None and known is None and "command_line" not in given
        command_line = fields.read("command_line", lambda text: _command_line(text, known, missing=missing), "")
    first = next(iter(fields.problems.values()), None)
    if first is not None:
        return Asked(fields.values, fields.problems, first)
    launch = LaunchConfiguration(boot_mode, vcpus, vcpu_type, guest_features, vmm)
    return Asked(fields.values, {}, WantedConfiguration(launch, command_line, given.get(VOUCH) == "true"))


class _Fields:
    """The form's fields while they are read one after the other, and what is wrong with each."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.problems: dict[str, UnusableValue] = {}

    def read[Value](self, name: str, reader: Callable[[str], Value], otherwise: Value) -> Value:
        try:
            return reader(self.values[name])
        except _Unusable as error:
            self.problems[name] = UnusableValue(str(error), where=name.replace("_", " "))
            return otherwise


class _Unusable(Exception):
    """Why one value cannot be used; the field is known where it is caught."""


def _one_of[Text: str](text: str, known: Collection[Text]) -> Text:
    found = next((value for value in known if value == text.strip()), None)
    if found is None:
        raise _Unusable(f"{text[:80]!r} is none of: {', '.join(known)}")
    return found


def _vcpus(text: str) -> int:
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit() and len(stripped) <= len(str(MAX_VCPUS))):
        raise _Unusable(f"{text[:80]!r} is no number from 1 to {MAX_VCPUS}")
    count = int(stripped)
    if not 1 <= count <= MAX_VCPUS:
        raise _Unusable(f"{count} vCPUs cannot be measured: 1 to {MAX_VCPUS} can")
    return count


def _guest_features(text: str) -> int:
    stripped = text.strip()
    if not _FEATURES.fullmatch(stripped):
        raise _Unusable(f"{text[:80]!r} is no 64-bit number such as 0x1")
    value = int(stripped, 16) if stripped[:2].lower() == "0x" else int(stripped)
    if value >= FEATURES_END:
        raise _Unusable(f"{text[:80]!r} does not fit 64 bits")
    if why := why_unusable(value):
        raise _Unusable(f"{text[:80]!r} {why}")
    return value


def _command_line(text: str, known: str | None, *, missing: bool) -> str:
    """Byte for byte, except that the line ends a form adds are no part of it; ``known`` is taken as published."""
    if missing:
        raise _Unusable("nothing published names the command line of this configuration; give the one that is used")
    line = _one_kind_of_line_end(text)
    if known is not None and line.strip("\n") == _one_kind_of_line_end(known).strip("\n"):
        return known
    line = line.rstrip("\n")
    if _NO_COMMAND_LINE.search(line):
        raise _Unusable("a command line is one line, without zero bytes and half characters")
    length = len(line.encode())
    if length > MAX_COMMAND_LINE_BYTES:
        raise _Unusable(f"the command line has {length} bytes; {MAX_COMMAND_LINE_BYTES} can be measured here")
    return line


def _one_kind_of_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
