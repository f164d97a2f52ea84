"""Digests as values: an algorithm and lower-case hex of exactly its length (FIPS 180-4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, overload

from builds.domain.errors import MalformedInput

_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


class Algorithm(StrEnum):
    """The hash algorithms that manifests, locks and attestations of this field use."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def hex_length(self) -> int:
        """Characters of the hexadecimal form."""
        return {Algorithm.SHA256: 64, Algorithm.SHA384: 96, Algorithm.SHA512: 128}[self]


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """One digest. Construction fails with ``MalformedInput`` unless ``hex`` fits ``algorithm``."""

    algorithm: Algorithm
    hex: str

    def __post_init__(self) -> None:
        if len(self.hex) != self.algorithm.hex_length or not _HEX.fullmatch(self.hex):
            raise MalformedInput(
                f"{self.hex[:140]!r} is not a {self.algorithm} digest:"
                f" {self.algorithm.hex_length} lower-case hexadecimal characters are",
                where=f"{len(self.hex)} characters",
            )

    @classmethod
    def sha256(cls, value: str) -> Self:
        return cls(Algorithm.SHA256, value)

    @classmethod
    def sha384(cls, value: str) -> Self:
        return cls(Algorithm.SHA384, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``<algorithm>:<hex>``; upper-case hex is accepted and lowered."""
        name, separator, value = text.strip().partition(":")
        if not separator or name not in Algorithm:
            raise MalformedInput(f"{text[:160]!r} is not of the form sha256:<hex>", where="digest")
        return cls(Algorithm(name), value.lower())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@overload
def sha256_text(value: str) -> str: ...
@overload
def sha256_text(value: None) -> None: ...
def sha256_text(value: str | None) -> str | None:
    """``sha256:<hex>`` of a hex value, the one way in which a digest is written for others; None stays None."""
    return str(Digest.sha256(value)) if value is not None else None


@dataclass(frozen=True, slots=True)
class FileDigests:
    """What one read of a file gives: its size in bytes and both digests."""

    size: int
    sha256: Digest
    sha384: Digest

    def get(self, algorithm: Algorithm) -> Digest:
        """The digest of the asked algorithm; ``KeyError`` for one that was not computed."""
        computed: Mapping[Algorithm, Digest] = {
            Algorithm.SHA256: self.sha256,
            Algorithm.SHA384: self.sha384,
        }
        return computed[algorithm]
