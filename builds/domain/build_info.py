"""``build-info-<tag>.txt``: what a release of Katana's VM says about itself, one ``KEY=VALUE`` a line.

The document names neither its tag nor its commit, and nothing of the launch configuration but the
UUID of the encrypted volume: those come from outside, see ``builds.pipeline.build_info_release``.
A key without a value (``LUKS_UUID=``) states nothing: the script that writes the file has every key.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput
from builds.domain.manifest import MAX_DOCUMENT_BYTES
from builds.domain.roles import Role

MAX_ENTRIES = 1000
MAX_VALUE_CHARACTERS = 4096

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}", re.ASCII)
_EPOCH = re.compile(r"[0-9]{1,12}", re.ASCII)
_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9+._ -]{0,99}", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9.+~:_-]{0,150}", re.ASCII)
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)

_SOURCE_DATE_EPOCH = "SOURCE_DATE_EPOCH"
_LAUNCH_MEASUREMENT = "LAUNCH_MEASUREMENT"
_LUKS_UUID = "LUKS_UUID"
_REUSED_FROM = "_REUSED_FROM"
_PACKAGE_SHA256 = "_PKG_SHA256"
_PACKAGE_LIST = "_PACKAGE_SHA256S"
_CLAIMS: Mapping[str, Role] = {
    "KATANA_BINARY_SHA256": Role.KATANA,
    "KERNEL_SHA256": Role.KERNEL,
    "INITRD_SHA256": Role.INITRD,
    "OVMF_SHA256": Role.OVMF,
}
_REUSED: Mapping[str, Role] = {
    "KATANA": Role.KATANA,
    "KATANA_BINARY": Role.KATANA,
    "KERNEL": Role.KERNEL,
    "INITRD": Role.INITRD,
    "OVMF": Role.OVMF,
}


class MalformedBuildInfo(MalformedInput):
    """build-info cannot be read as lines of ``KEY=VALUE``, or a key that the portal knows has no such value."""

    code = "malformed-build-info"
    default_todo = "Ask the publisher for a correct build-info file; nothing was imported."


@dataclass(frozen=True, slots=True)
class Reused:
    """Something taken over from an earlier release; ``role`` is None for what is no component."""

    key: str
    role: Role | None
    origin: str


@dataclass(frozen=True, slots=True)
class NamedPackage:
    """A package that build-info names by the digest of its file; ``version`` is "" when it names none."""

    name: str
    version: str
    digest: Digest


@dataclass(frozen=True)
class BuildInfo:
    """The whole document; ``values`` holds every key in its order, the unknown ones too."""

    values: Mapping[str, str]

    @property
    def source_date_epoch(self) -> int:
        """SOURCE_DATE_EPOCH in seconds."""
        return int(self.values[_SOURCE_DATE_EPOCH])

    @property
    def launch_measurement(self) -> str | None:
        """96 lower-case hexadecimal characters; None when the document has none."""
        value = self.values.get(_LAUNCH_MEASUREMENT)
        return value.lower() if value else None

    @cached_property
    def digests(self) -> Mapping[Role, Digest]:
        """What the document says of each component it names: SHA-256 of the file itself."""
        stated = {role: self.values.get(key) for key, role in _CLAIMS.items()}
        return {role: Digest.sha256(value.lower()) for role, value in stated.items() if value}

    @cached_property
    def reused(self) -> tuple[Reused, ...]:
        """Every ``*_REUSED_FROM`` with a value, in the document's order."""
        return tuple(
            Reused(key, _REUSED.get(key.removesuffix(_REUSED_FROM)), value)
            for key, value in self.values.items()
            if key.endswith(_REUSED_FROM) and value
        )

    @cached_property
    def packages(self) -> tuple[NamedPackage, ...]:
        """Every package with a digest: of ``X_PKG_SHA256``, and of lists like ``GLIBC_RUNTIME_PACKAGE_SHA256S``."""
        found = []
        for key, value in self.values.items():
            if key.endswith(_PACKAGE_SHA256) and value:
                stem = key.removesuffix(_PACKAGE_SHA256)
                version = self.values.get(f"{stem}_PKG_VERSION") or self.values.get(f"{stem}_VERSION") or ""
                name = f"{stem.lower().replace('_', '-')} package"
                found.append(NamedPackage(name, version, Digest.sha256(value.lower())))
            elif key.endswith(_PACKAGE_LIST):
                versions = dict(_pairs(self.values.get(f"{key.removesuffix(_PACKAGE_LIST)}_PACKAGES", "")))
                found.extend(
                    NamedPackage(name, versions.get(name, ""), Digest.sha256(digest.lower()))
                    for name, digest in _pairs(value)
                )
        return tuple(found)


def parse_build_info(data: bytes, *, where: str) -> BuildInfo:
    """Read build-info; ``MalformedBuildInfo`` names the first thing that is wrong and its line.

    Blank lines and lines that start with ``#`` are skipped, one pair of quotes around a value is
    taken off. A key given twice is refused: two readers could believe different lines.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise MalformedBuildInfo(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBuildInfo(f"the document is not UTF-8 at byte {error.start}", where=where) from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not (stripped := line.strip(" \t")) or stripped.startswith("#"):
            continue
        place = f"{where} line {number}"
        key, value = _entry(stripped, place)
        if key in values:
            raise MalformedBuildInfo(f"{key} is given twice", where=place)
        if len(values) == MAX_ENTRIES:
            raise MalformedBuildInfo(f"the document has more than {MAX_ENTRIES} keys", where=place)
        values[key] = value
    _check_known(values, where)
    info = BuildInfo(values)
    for package in info.packages:
        if not (_PACKAGE.fullmatch(package.name) and _VERSION.fullmatch(package.version)):
            raise MalformedBuildInfo(f"{package.name[:80]!r} {package.version[:80]!r} is no package", where=where)
    return info


def render_build_info(values: Mapping[str, str]) -> bytes:
    """The document with these values, one line each; ``parse_build_info`` reads the same values back."""
    return "".join(f'{key}="{value}"\n' for key, value in values.items()).encode()


def _entry(line: str, where: str) -> tuple[str, str]:
    key, separator, value = line.partition("=")
    if not separator or not _KEY.fullmatch(key):
        raise MalformedBuildInfo(f"{line[:80]!r} is not of the form KEY=VALUE", where=where)
    value = value.strip(" \t")
    if value[:1] in {'"', "'"}:
        if len(value) == 1 or value[-1] != value[0]:
            raise MalformedBuildInfo(f"the quote around the value of {key} does not end", where=where)
        value = value[1:-1]
    if len(value) > MAX_VALUE_CHARACTERS:
        raise MalformedBuildInfo(f"the value of {key} is longer than {MAX_VALUE_CHARACTERS} characters", where=where)
    # Cc are control characters, Zl and Zp separate lines: none of them can be part of a line that people read.
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in value):
        raise MalformedBuildInfo(f"the value of {key} has a control character", where=where)
    return key, value


def _pairs(text: str) -> list[tuple[str, str]]:
    """The ``name=value`` words of a list; what is no such word comes with an empty value."""
    return [(name, value) for name, _, value in (word.partition("=") for word in text.split())]


def _check_known(values: Mapping[str, str], where: str) -> None:
    """Keys that the portal reads must hold what it reads them as, or nothing."""
    epoch = values.get(_SOURCE_DATE_EPOCH, "")
    if not _EPOCH.fullmatch(epoch):
        raise MalformedBuildInfo(f"{_SOURCE_DATE_EPOCH} is {epoch[:40]!r}, not a number of seconds", where=where)
    for key, value in values.items():
        if key in _CLAIMS or key.endswith(_PACKAGE_SHA256):
            _check_digest(key, Algorithm.SHA256, value, where)
        elif key == _LAUNCH_MEASUREMENT:
            _check_digest(key, Algorithm.SHA384, value, where)
        elif key.endswith(_PACKAGE_LIST):
            _check_list(key, value, where)
    if (uuid := values.get(_LUKS_UUID)) and not _UUID.fullmatch(uuid):
        raise MalformedBuildInfo(f"{_LUKS_UUID} is {uuid[:80]!r}, not a UUID", where=where)


def _check_list(key: str, value: str, where: str) -> None:
    for name, digest in _pairs(value):
        if not (name and digest):
            raise MalformedBuildInfo(f"{key} is not a list of name=sha256", where=where)
        _check_digest(key, Algorithm.SHA256, digest, where)


def _check_digest(key: str, algorithm: Algorithm, value: str, where: str) -> None:
    if not value:
        return
    try:
        Digest(algorithm, value.lower())
    except MalformedInput as error:
        raise MalformedBuildInfo(f"{key}: {error.what}", where=where) from error
