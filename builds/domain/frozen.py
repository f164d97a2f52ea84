"""What every format this portal reads has in common: frozen, strict, no unknown keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from builds.domain.errors import PortalError
from builds.domain.paths import relative_path
from builds.domain.printable import one_line

_LONGEST_PROBLEM = 1000


class Frozen(BaseModel):
    """A value read from a foreign document."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CamelCase(Frozen):
    """A value of a document whose JSON names are camel case, as SLSA and in-toto write them."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


def inside_root(text: str) -> str:
    """A validator: the normalised path, or ``ValueError`` for one that leaves its root."""
    try:
        return str(relative_path(text, where="document"))
    except PortalError as error:
        raise ValueError(error.what) from error


def in_utc(moment: datetime) -> datetime:
    """A validator: the moment in UTC, or ``ValueError`` for one that has no year there."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the moment is not in the years 1 to 9999 of UTC") from error


TreePath = Annotated[str, AfterValidator(inside_root)]
"""A normalised relative path that stays inside its root."""
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sha256Text = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Sha384Text = Annotated[str, StringConstraints(pattern=r"^sha384:[0-9a-f]{96}$")]
Sha384Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]
KeyName = Annotated[str, StringConstraints(pattern=r"^ni:///sha-256;[A-Za-z0-9_-]{43}$")]
"""A public key named by the SHA-256 of its SubjectPublicKeyInfo (RFC 6920)."""
Utc = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A moment with its zone, in UTC; RFC 3339 in JSON."""
GitCommit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


def first_problem(error: ValidationError) -> str:
    """The first problem pydantic found, as ``path: message`` in one plain line; the path quotes strangers' names."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "document"
    return one_line(f"{place}: {problem['msg']}", _LONGEST_PROBLEM)
