"""Announcements and publications as the API takes and gives them."""

from __future__ import annotations

import uuid
from base64 import b64decode
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import reverse
from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field

from attestations.domain.publication import MAX_ADDRESS_CHARACTERS, MOST_FILES, PublicationForm, PublicationState
from attestations.models import Publication
from builds.domain.digest import Digest, sha256_text
from builds.domain.frozen import Sha256Text
from builds.public_address import public_base

_NAME = Annotated[str, Field(min_length=1, max_length=255)]


def _only_base64(text: str) -> str:
    """As RFC 4648 has it in section 4, with nothing between that another reader would pass over or take for an end."""
    try:
        b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("no base64") from error
    return text


class AnnouncedRelease(Schema):
    """Which release: of a project that is known here, by its tag; ``commit`` where its documents name none."""

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_-]+$")]
    tag: Annotated[str, Field(min_length=1, max_length=200)]
    commit: Annotated[str, Field(min_length=40, max_length=40)] | None = None


class SentFile(Schema):
    """A small file of the release within the announcement, in base64: digests are over its very bytes."""

    model_config = ConfigDict(extra="forbid")

    name: _NAME
    base64: Annotated[str, AfterValidator(_only_base64), Field(json_schema_extra={"contentEncoding": "base64"})]

    @property
    def content(self) -> bytes:
        return b64decode(self.base64, validate=True)


class AssetAtAddress(Schema):
    """A file of the release and where it is; ``digest`` is what its bytes must have, else nothing is imported."""

    model_config = ConfigDict(extra="forbid")

    name: _NAME
    url: Annotated[str, Field(min_length=1, max_length=MAX_ADDRESS_CHARACTERS)]
    digest: Sha256Text | None = None

    @property
    def sha256(self) -> str:
        """In hex; empty where none is given."""
        return Digest.parse(self.digest).hex if self.digest is not None else ""


class AnnouncementWish(AnnouncedRelease):
    """One of ``assets`` and ``files`` is the document: manifest.json or build-info-TAG.txt."""

    assets: Annotated[list[AssetAtAddress], Field(default_factory=list, max_length=MOST_FILES)]
    files: Annotated[list[SentFile], Field(default_factory=list, max_length=MOST_FILES)]


def whole_schema(kind: type[Schema]) -> dict[str, Any]:
    """The JSON schema of a body that the framework does not read, with what it refers to in its place."""
    schema = kind.model_json_schema()
    parts: dict[str, Any] = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return whole(parts[value["$ref"].rpartition("/")[2]])
        return {key: whole(entry) for key, entry in value.items()}

    found: dict[str, Any] = whole(schema)
    return found


class PublicationFileOut(Schema):
    """``host`` is null for a file that was sent; ``digest`` and ``size`` are null while they are not known."""

    name: str
    host: str | None
    digest: Sha256Text | None
    size: int | None


class NamedProblemOut(Schema):
    """``page`` is the address of a page about the code."""

    code: str
    what: str
    where: str
    todo: str
    page: str


class PublicationOut(Schema):
    """``state`` ``imported`` says that the release is known here, and nothing of whether it is any good: ask for the
    verdict at ``verdict``. ``problem`` is why it was refused, or why it is tried again.
    """

    id: uuid.UUID
    project: str
    tag: str
    commit: str | None
    state: PublicationState
    form: PublicationForm
    announced_at: datetime
    announced_by: str
    token: str
    ended_at: datetime | None
    next_try_at: datetime | None
    received_bytes: int
    files: list[PublicationFileOut]
    problem: NamedProblemOut | None
    api: str
    release: str | None
    verdict: str | None
    page: str | None


def publication_out(request: HttpRequest, row: Publication) -> PublicationOut:
    here, release = public_base(request), row.release
    named = (release.project.name, release.tag) if release is not None else None
    return PublicationOut(
        id=row.pk,
        project=row.project.name,
        tag=row.tag,
        commit=row.commit or None,
        state=PublicationState(row.state),
        form=PublicationForm(row.form),
        announced_at=row.announced_at,
        announced_by=row.account_name,
        token=row.token_name,
        ended_at=row.ended_at,
        next_try_at=row.next_try_at,
        received_bytes=row.received_bytes,
        files=[_file_out(file) for file in row.files],
        problem=_problem_out(here, row.problem) if row.problem is not None else None,
        api=here + row.get_absolute_url(),
        release=here + reverse("api-1:release", args=named) if named else None,
        verdict=here + reverse("api-1:release_verdict", args=named) if named else None,
        page=here + release.get_absolute_url() if release is not None else None,
    )


def _file_out(file: dict[str, Any]) -> PublicationFileOut:
    """Without the address itself, which may hold what only the announcer should know."""
    host = urlsplit(file["url"]).hostname if file["url"] else None
    return PublicationFileOut(
        name=file["name"], host=host, digest=sha256_text(file["sha256"] or None), size=file["size"]
    )


def _problem_out(here: str, problem: dict[str, str]) -> NamedProblemOut:
    return NamedProblemOut(**problem, page=here + reverse("problem", args=[problem["code"]]))
