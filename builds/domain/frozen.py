"""What every format this portal reads has in common: frozen, strict, no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from builds.domain.errors import PortalError
from builds.domain.paths import relative_path


class Frozen(BaseModel):
    """A value read from a foreign document."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def inside_root(text: str) -> str:
    """A validator: the normalised path, or ``ValueError`` for one that leaves its root."""
    try:
        return str(relative_path(text, where="document"))
    except PortalError as error:
        raise ValueError(error.what) from error


TreePath = Annotated[str, AfterValidator(inside_root)]
"""A normalised relative path that stays inside its root."""
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sha384Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]
GitCommit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


def first_problem(error: ValidationError) -> str:
    """The first problem pydantic found, as ``path: message``."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "document"
    return f"{place}: {problem['msg']}"
