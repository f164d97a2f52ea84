"""What a rebuilder signs: an in-toto Statement v1 with SLSA Provenance v1 about the components it made.

It says what was done, never whether it matches: digests are compared by whoever reads it. The buildType's
specification is docs/predicates/rebuild-v1.md; the format is closed, so that nothing signed goes unread.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final, Literal, Protocol, Self

from pydantic import FailFast, Field, StringConstraints, ValidationError, model_validator

from builds.domain.digest import Digest, FileDigests
from builds.domain.errors import MalformedInput
from builds.domain.frozen import CamelCase, GitCommit, KeyName, Sha256Hex, Sha384Hex, Utc, first_problem
from builds.domain.launch import Launch
from builds.domain.manifest import Tag
from builds.domain.origins import OriginKind
from builds.domain.printable import Line
from builds.domain.roles import BootMode, Role
from builds.domain.strict_json import load_object

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
SLSA_PROVENANCE: Final = "https://slsa.dev/provenance/v1"
REBUILD_BUILD_TYPE: Final = "https://tee-portal.org/rebuild/v1"
MAX_STATEMENT_BYTES = 4 * 1024 * 1024
MAX_MATERIALS = 5000
MAX_FILES = 20_000
# A file of the list has seven, and a comma in a text counts too.
MAX_VALUES = 20 * MAX_FILES

_MAX_SIZE = 2**53
_MAX_MEMBERS = 200

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=8192)]
Size = Annotated[int, Field(ge=0, le=_MAX_SIZE)]


class MalformedRebuildStatement(MalformedInput):
    """A signed payload that is no statement of a rebuild in the format this portal reads."""

    code: ClassVar[str] = "malformed-rebuild-statement"
    default_todo: ClassVar[str] = "Rebuild with a current tee-portal-rebuilder; docs/predicates has the format."


class Sha256(CamelCase):
    sha256: Sha256Hex


class BothDigests(CamelCase):
    sha256: Sha256Hex
    sha384: Sha384Hex


class Container(CamelCase):
    """The file around a component: its size in bytes and digests."""

    size: Size
    sha256: Sha256Hex
    sha384: Sha384Hex


class SubjectNotes(CamelCase):
    """Size in bytes, where the bytes come from, and the container around them if any."""

    size: Size
    origin_kind: OriginKind
    origin: Line
    container: Container | None = None


class RebuiltSubject(CamelCase):
    """One rebuilt component, named by its role."""

    name: Role
    digest: BothDigests
    annotations: SubjectNotes

    @property
    def content(self) -> FileDigests:
        return FileDigests(self.annotations.size, Digest.sha256(self.digest.sha256), Digest.sha384(self.digest.sha384))


class SourceReference(CamelCase):
    """The commit that was built, and where it was fetched from."""

    uri: Line
    commit: GitCommit


class RecipeReference(CamelCase):
    """What was built by: a recipe of the source tree, or one that the portal keeps."""

    origin: Line
    sha256: Sha256Hex


class ExternalParameters(CamelCase):
    """What decides the outcome; ``launch_values`` fill placeholders of command lines and reach nothing else."""

    project: Line
    tag: Tag
    source: SourceReference
    source_date_epoch: Size
    recipe: RecipeReference
    launch_values: dict[Line, Line] = Field(default={}, max_length=_MAX_MEMBERS)


class InternalParameters(CamelCase):
    """``asks_for_network``: a stage of the recipe had the network, so that nobody can say what it fetched."""

    asks_for_network: bool


class GitCommitDigest(CamelCase):
    git_commit: GitCommit


class SourceDependency(CamelCase):
    uri: Line
    digest: GitCommitDigest


class MaterialDependency(CamelCase):
    """A locked package: ``name version (architecture)`` and its digest."""

    name: Line
    digest: Sha256


class BuildDefinition(CamelCase):
    build_type: Literal["https://tee-portal.org/rebuild/v1"]
    external_parameters: ExternalParameters
    internal_parameters: InternalParameters
    resolved_dependencies: Annotated[tuple[SourceDependency | MaterialDependency, ...], FailFast()] = Field(
        min_length=1, max_length=MAX_MATERIALS + 1
    )


class Builder(CamelCase):
    """Who rebuilt: the key that signs, and versions of the program that did."""

    id: KeyName
    version: dict[Line, Line] = Field(default={}, max_length=20)


class Metadata(CamelCase):
    """``invocation_id`` is unlike any other's, so that one run is one result however often it is handed in."""

    invocation_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    started_on: Utc
    finished_on: Utc


class Log(CamelCase):
    name: Literal["log"] = "log"
    digest: Sha256


class Environment(CamelCase):
    """Engine version, kernel, CPU, base image and the like, as words: shown beside those of others."""

    name: Literal["environment"] = "environment"
    annotations: dict[Line, Line | int] = Field(max_length=50)


class RebuiltFile(CamelCase):
    """A file inside a rebuilt component and where its bytes come from."""

    role: Role
    path: Line
    size: Size
    sha256: Sha256Hex
    origin_kind: OriginKind
    origin: Line


class FileList(CamelCase):
    entries: Annotated[tuple[RebuiltFile, ...], FailFast()] = Field(max_length=MAX_FILES)


class Files(CamelCase):
    name: Literal["files"] = "files"
    annotations: FileList


class MeasurementProblem(CamelCase):
    """Why there is no measurement: a named error, as every part of the portal tells one."""

    code: Line
    what: Line
    where: Line
    todo: Line


class RebuiltMeasurement(CamelCase):
    """The launch measurement of one configuration, or the reason why there is none (then ``value`` is empty)."""

    name: Line
    boot_mode: BootMode
    vcpus: Size
    vcpu_type: Line
    guest_features: Annotated[int, Field(ge=0, lt=2**64)]
    vmm: Line
    command_line: Text
    value: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{96})?$")]
    problem: MeasurementProblem | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.value == "") != (self.problem is not None):
            raise ValueError("a measurement has a value or a problem")
        return self

    @property
    def launch(self) -> tuple[str, int, str, int, str, str]:
        """What it was computed for."""
        return (self.boot_mode, self.vcpus, self.vcpu_type, self.guest_features, self.vmm, self.command_line)


class PublishedLaunch(Launch, Protocol):
    """What a published measurement was computed for; a command line that nothing names is None."""

    @property
    def command_line(self) -> str | None: ...


def measured_for(launch: PublishedLaunch, stated: Iterable[RebuiltMeasurement]) -> RebuiltMeasurement | None:
    """The measurement of exactly this launch, by every value that it depends on; None: there is none."""
    values = (launch.boot_mode, launch.vcpus, launch.vcpu_type, launch.guest_features, launch.vmm)
    found = (entry for entry in stated if entry.launch[:-1] == values)
    return next((entry for entry in found if launch.command_line in {None, entry.command_line}), None)


class MeasurementList(CamelCase):
    entries: Annotated[tuple[RebuiltMeasurement, ...], FailFast()] = Field(max_length=100)


class Measurements(CamelCase):
    name: Literal["launch-measurements"] = "launch-measurements"
    annotations: MeasurementList


class RunDetails(CamelCase):
    builder: Builder
    metadata: Metadata
    byproducts: Annotated[tuple[Log, Environment, Files, Measurements], FailFast()]


class Predicate(CamelCase):
    build_definition: BuildDefinition
    run_details: RunDetails


class RebuildStatement(CamelCase):
    """The whole statement. ``parse`` and ``encode`` are each other's inverse for what this portal signs."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[tuple[RebuiltSubject, ...], FailFast()] = Field(min_length=1, max_length=len(Role))
    predicate_type: Literal["https://slsa.dev/provenance/v1"]
    predicate: Predicate

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [entry.name for entry in self.subject]
        if len(set(names)) != len(names):
            raise ValueError("a component is a subject twice")
        definition, metadata = self.predicate.build_definition, self.predicate.run_details.metadata
        sources = [entry for entry in definition.resolved_dependencies if isinstance(entry, SourceDependency)]
        if [entry.digest.git_commit for entry in sources] != [definition.external_parameters.source.commit]:
            raise ValueError("the source commit is not exactly one of the resolved dependencies")
        if metadata.finished_on < metadata.started_on:
            raise ValueError("the rebuild ended before it began")
        files = [(entry.role, entry.path) for entry in self.files]
        if len(set(files)) != len(files):
            raise ValueError("a file is listed twice")
        values = {(entry.launch, entry.value) for entry in self.measurements}
        if len(values) != len({launch for launch, _ in values}):
            raise ValueError("one launch configuration has two measurements")
        return self

    @property
    def parameters(self) -> ExternalParameters:
        return self.predicate.build_definition.external_parameters

    @property
    def materials(self) -> frozenset[str]:
        """SHA-256 of every material, in hex; the source commit is not among them."""
        found = self.predicate.build_definition.resolved_dependencies
        return frozenset(entry.digest.sha256 for entry in found if isinstance(entry, MaterialDependency))

    @property
    def builder_id(self) -> str:
        return self.predicate.run_details.builder.id

    @property
    def metadata(self) -> Metadata:
        return self.predicate.run_details.metadata

    @property
    def log_sha256(self) -> str:
        return self.predicate.run_details.byproducts[0].digest.sha256

    @property
    def environment(self) -> dict[str, str | int]:
        return dict(self.predicate.run_details.byproducts[1].annotations)

    @property
    def files(self) -> tuple[RebuiltFile, ...]:
        return self.predicate.run_details.byproducts[2].annotations.entries

    @property
    def measurements(self) -> tuple[RebuiltMeasurement, ...]:
        return self.predicate.run_details.byproducts[3].annotations.entries

    @property
    def asks_for_network(self) -> bool:
        return self.predicate.build_definition.internal_parameters.asks_for_network

    @property
    def components(self) -> dict[Role, FileDigests]:
        return {entry.name: entry.content for entry in self.subject}

    def encode(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


def parse_rebuild_statement(payload: bytes, *, where: str = "payload") -> RebuildStatement:
    """Read a signed payload; ``MalformedRebuildStatement`` names the first thing that is wrong."""
    # Read once by the strict reader: duplicate names would let two readers see two statements.
    load_object(
        payload,
        max_bytes=MAX_STATEMENT_BYTES,
        where=where,
        error_type=MalformedRebuildStatement,
        max_values=MAX_VALUES,
        max_members=_MAX_MEMBERS,
    )
    try:
        # Only the names of the format: Python's own would be members that other readers do not see.
        return RebuildStatement.model_validate_json(payload, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedRebuildStatement(first_problem(error)[:400], where=where) from error


def now() -> datetime:
    """The present, in whole seconds: what a statement says of time need not be finer."""
    return datetime.now(UTC).replace(microsecond=0)
