"""What a rebuilder is asked to do, as it travels from the portal to an agent: closed JSON, read strictly.

An agent reads this from a portal it need not trust, and a portal's own worker is given the same value.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from builds.domain.comparison import PublishedComponent, Subject
from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import MalformedInput
from builds.domain.frozen import CamelCase, Frozen, GitCommit, Sha256Text, Sha384Hex, Sha384Text, first_problem
from builds.domain.launch import MAX_VCPUS
from builds.domain.manifest import Tag
from builds.domain.printable import Line, Slug
from builds.domain.queue import Needs
from builds.domain.recipe import MAX_RECIPE_BYTES
from builds.domain.roles import BootMode, Role
from builds.domain.strict_json import load_object

MAX_JOB_BYTES = 2 * 1024 * 1024
MAX_LEASE_SECONDS = 3600
MAX_LAUNCH_VALUES = 200

Seconds = Annotated[float, Field(ge=1, le=MAX_LEASE_SECONDS)]
SOURCE_ADDRESS = r"^(https|file)://[!-~]+$"
"""Where a rebuilder can fetch a source from without being known there."""
SourceUrl = Annotated[str, StringConstraints(pattern=SOURCE_ADDRESS, max_length=500)]
DigestText = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96})$")]


class MalformedJob(MalformedInput):
    """What a portal answered is no job that this program understands."""

    code: ClassVar[str] = "malformed-job"
    default_todo: ClassVar[str] = "Check the portal's address; its version and this program's may be too far apart."


class OtherJob(MalformedJob):
    """The portal answered with another release than it was asked for; what it gives says nothing of that one."""

    code: ClassVar[str] = "other-job"
    default_todo: ClassVar[str] = "Nothing was built. Do not trust this portal until somebody explains the difference."


class KeptRecipe(CamelCase):
    """A recipe that the portal keeps for a source tree that has none."""

    text: Annotated[str, StringConstraints(max_length=MAX_RECIPE_BYTES)]
    author: Line


class PublishedDigests(CamelCase):
    """Size in bytes and digests of a published file."""

    size: Annotated[int, Field(ge=0, le=2**53)]
    digest: Sha256Text
    digest_sha384: Sha384Text

    @classmethod
    def of(cls, digests: FileDigests | None) -> Self | None:
        if digests is None:
            return None
        return cls(size=digests.size, digest=str(digests.sha256), digest_sha384=str(digests.sha384))

    @property
    def value(self) -> FileDigests:
        return FileDigests(self.size, Digest.parse(self.digest), Digest.parse(self.digest_sha384))


class JobComponent(CamelCase):
    """A published component by its digests alone: what a rebuild is held against afterwards."""

    role: Role
    claimed: DigestText | None
    claim_subject: Subject
    content: PublishedDigests | None
    container: PublishedDigests | None

    @classmethod
    def of(cls, component: PublishedComponent) -> Self:
        return cls(
            role=component.role,
            claimed=str(component.claimed) if component.claimed is not None else None,
            claim_subject=component.claim_subject,
            content=PublishedDigests.of(component.content),
            container=PublishedDigests.of(component.container),
        )

    @property
    def value(self) -> PublishedComponent:
        return PublishedComponent(
            role=self.role,
            claimed=Digest.parse(self.claimed) if self.claimed is not None else None,
            claim_subject=self.claim_subject,
            content=self.content.value if self.content is not None else None,
            container=self.container.value if self.container is not None else None,
        )


class JobMeasurement(CamelCase):
    """A published launch measurement, 96 hex characters, and the launch that it was published for."""

    name: Line
    boot_mode: BootMode
    vcpus: Annotated[int, Field(ge=1, le=MAX_VCPUS)]
    vcpu_type: Line
    guest_features: Annotated[int, Field(ge=0, lt=2**64)]
    vmm: Line
    command_line: Annotated[str, StringConstraints(max_length=8192)] | None
    published: Sha384Hex


class RebuildJob(CamelCase):
    """Everything a rebuild of one release needs to be told; the rest comes from its source.

    ``measurements`` are there for who rebuilds alone and compares. ``expected_seconds`` is what earlier rebuilds took,
    None while there is none; ``needs`` is what the recipe asks of the machine, None from a portal that does not say.
    """

    project: Slug
    tag: Tag
    commit: GitCommit
    source_url: SourceUrl
    recipe: KeptRecipe | None = None
    launch_values: dict[Line, Line] = Field(default={}, max_length=MAX_LAUNCH_VALUES)
    components: tuple[JobComponent, ...] = Field(max_length=len(Role))
    measurements: tuple[JobMeasurement, ...] = Field(default=(), max_length=100)
    expected_seconds: Annotated[int, Field(ge=0)] | None = None
    needs: Needs | None = None

    @property
    def published(self) -> Iterable[PublishedComponent]:
        return [component.value for component in self.components]


_LINE = TypeAdapter(Line)


def launch_values_of(values: Mapping[str, str]) -> dict[str, str]:
    """Of a publisher's values, those that a job can carry; a recipe that asks for another fails by name when built."""
    fitting = ((name, value) for name, value in values.items() if _is_line(name) and _is_line(value))
    return dict(itertools.islice(fitting, MAX_LAUNCH_VALUES))


def _is_line(text: str) -> bool:
    try:
        _LINE.validate_python(text)
    except ValidationError:
        return False
    return True


class ClaimedJob(CamelCase):
    """A job that is reserved: ``rebuild_id`` is its row, and the lease ends unless it is renewed in time.

    An agent waits a lease for a portal that is away, and asks at every heartbeat: neither is the portal's alone to say.
    """

    rebuild_id: uuid.UUID
    job: RebuildJob
    lease_seconds: Seconds
    heartbeat_seconds: Seconds

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.heartbeat_seconds > self.lease_seconds:
            raise ValueError("the heartbeat is longer than the lease")
        return self


def check_asked(project: str, tag: str, *, asked_project: str | None, asked_tag: str | None, where: str) -> None:
    """Return when a release that a portal names is the one that was asked for (None: any); ``OtherJob`` otherwise."""
    if (asked_project or project, asked_tag or tag) != (project, tag):
        asked = " ".join(name for name in (asked_project, asked_tag) if name is not None)
        raise OtherJob(f"the answer is about {project} {tag}, not about {asked}", where=where)


def parse_as[Document: Frozen](
    kind: type[Document], data: bytes, *, where: str, max_bytes: int = MAX_JOB_BYTES
) -> Document:
    """Read a document of this protocol; ``MalformedJob`` names the first thing that is wrong."""
    load_object(data, max_bytes=max_bytes, where=where, error_type=MalformedJob)
    try:
        return kind.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedJob(first_problem(error)[:400], where=where) from error
