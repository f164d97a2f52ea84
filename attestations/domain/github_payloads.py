"""The parts of GitHub's REST answers that the portal reads (api-version 2022-11-28), as frozen values.

Unknown members are ignored, because GitHub adds some at any time; known ones must have their documented type.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from attestations.domain.github_errors import UnexpectedAnswer
from attestations.domain.repository import Repository
from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput
from builds.domain.frozen import GitCommit, first_problem
from builds.domain.strict_json import AmbiguousJson, read_json

MAX_TEXT = 4096
type JsonObject = dict[str, object]


def _moment(value: object) -> datetime:
    """ISO 8601 with a zone, as UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value if isinstance(value, str) else "")
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time beyond the calendar") from error


def _sha256(value: object) -> Digest | None:
    """``sha256:<hex>``; None where GitHub gives none, as for assets uploaded before June 2025."""
    if value is None or isinstance(value, Digest):
        return value
    try:
        digest = Digest.parse(value) if isinstance(value, str) else None
    except MalformedInput as error:
        raise ValueError("not a digest") from error
    if digest is None or digest.algorithm is not Algorithm.SHA256:
        raise ValueError("not a sha256 digest")
    return digest


def _full_name(value: object) -> Repository:
    if isinstance(value, Repository):
        return value
    try:
        return Repository.parse(value if isinstance(value, str) else "")
    except MalformedInput as error:
        raise ValueError("not owner/name") from error


Moment = Annotated[datetime, BeforeValidator(_moment)]
Identifier = Annotated[int, Field(gt=0, lt=2**63)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]


class _Answer(BaseModel):
    """An object of GitHub's API."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, arbitrary_types_allowed=True)


class GitHubAsset(_Answer):
    """One file of a release. ``size`` in bytes; ``digest`` is GitHub's own sha256 of it, or None if it has none.

    ``name`` is as the publisher chose it and not yet safe as a path; ``state`` is ``uploaded`` once it is whole.
    """

    id: Identifier
    name: Text
    size: Annotated[int, Field(ge=0, lt=2**63)]
    digest: Annotated[Digest | None, BeforeValidator(_sha256)] = None
    url: Text
    browser_download_url: Text
    state: Text


class GitHubRelease(_Answer):
    """A published release. ``immutable`` is None when GitHub does not say."""

    id: Identifier
    tag_name: Text
    name: Text | None = None
    published_at: Moment
    prerelease: bool
    immutable: bool | None = None
    html_url: Text
    assets: tuple[GitHubAsset, ...] = Field(strict=False)


class RepositoryIdentity(_Answer):
    """What stays when a repository or its owner is renamed: two numbers, and today's name."""

    id: Identifier
    owner_id: Identifier
    full_name: Annotated[Repository, BeforeValidator(_full_name)]

    @model_validator(mode="before")
    @classmethod
    def _owner(cls, value: object) -> object:
        owner = value.get("owner") if isinstance(value, dict) else None
        return {**value, "owner_id": owner.get("id")} if isinstance(value, dict) and isinstance(owner, dict) else value


class GitObject(_Answer):
    """What a ref or an annotated tag points at: ``type`` is ``commit``, ``tag``, ``tree`` or ``blob``."""

    type: Text
    sha: GitCommit


class GitRef(_Answer):
    """A ref by its full name."""

    ref: Text
    object: GitObject


class GitTag(_Answer):
    """An annotated tag object and what it points at."""

    sha: GitCommit
    object: GitObject


class HeldAttestation(_Answer):
    """One attestation as GitHub lists it: its bundle inline, at an address, or both."""

    bundle: JsonObject | None = None
    bundle_url: Text | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.bundle is None and not self.bundle_url:
            raise ValueError("neither bundle nor bundle_url")
        return self


class AttestationPage(_Answer):
    """One page of the attestations of one digest."""

    attestations: tuple[HeldAttestation, ...] = Field(strict=False)


RELEASE_PAGE: TypeAdapter[list[JsonObject]] = TypeAdapter(list[JsonObject], config=ConfigDict(strict=True))


def parse_json(body: bytes, where: str, *, exact: bool = False) -> object:
    """The values of a JSON body, or ``UnexpectedAnswer``; see ``read_json`` for what is refused."""
    try:
        return read_json(body, exact=exact)
    except AmbiguousJson as error:
        raise UnexpectedAnswer(f"the answer cannot be read: {error}", where=where) from error


def parse_answer[Shape: BaseModel](shape: type[Shape], value: object, where: str) -> Shape:
    """``value`` as ``shape``, or ``UnexpectedAnswer`` naming the first member that does not fit."""
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise UnexpectedAnswer(f"the answer is not as documented: {first_problem(error)}", where=where) from None


def parse_releases(body: bytes, where: str) -> list[GitHubRelease]:
    """One page of releases without its drafts, or ``UnexpectedAnswer``."""
    try:
        entries = RELEASE_PAGE.validate_python(parse_json(body, where))
    except ValidationError as error:
        raise UnexpectedAnswer(f"the answer is not a list of releases: {first_problem(error)}", where=where) from None
    return [parse_answer(GitHubRelease, entry, where) for entry in entries if entry.get("draft") is not True]
