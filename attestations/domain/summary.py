"""The signed verdict: an in-toto Statement v1 with a SLSA Verification Summary v1 about a release's components.

Fields as https://slsa.dev/spec/v1.1/verification_summary has them; our own stand under one member whose name is an
address. The format is closed, and what is encoded is read back before anybody signs it.
docs/predicates/verification-summary.md describes it for readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, FailFast, Field, StringConstraints, ValidationError, model_validator

from attestations.domain.policy_statement import PolicyStatement
from builds.domain.comparison import PublishedComponent
from builds.domain.consensus import Tally
from builds.domain.digest import FileDigests
from builds.domain.errors import MalformedInput
from builds.domain.frozen import CamelCase, GitCommit, Sha256Hex, Sha384Hex, first_problem
from builds.domain.manifest import Tag
from builds.domain.printable import Line, Slug, one_line
from builds.domain.roles import Role
from builds.domain.strict_json import AmbiguousJson, compact_json, load_object
from builds.domain.verdict import Decision

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
VERIFICATION_SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION: Final = "1.1"
VERDICT_EXTENSION: Final = "https://tee-portal.org/verdict/v1"
"""The member of the predicate that holds what SLSA has no field for."""
ALLOW_LEVEL: Final = "TEE_PORTAL_ALLOW"
"""Our one level: every condition of docs/verdict.md was met. It says nothing of SLSA's own tracks."""
FAILED_LEVEL: Final = "FAILED"
"""What SLSA puts in place of levels when verification failed."""
MAX_SUMMARY_BYTES = 4 * 1024 * 1024
MAX_INPUTS = 10_000
MAX_SUMMARY_VALUES = 10 * MAX_INPUTS
_MAX_MEMBERS = 100

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_WHERE = "verification summary"
_NAME = re.compile(rf"({'|'.join(Role)})(/.+)?", re.DOTALL)
_STATEMENT_ADDRESS = re.compile(r"https?://[^?#]+/statements/[0-9a-f]{64}\.received\.json", re.ASCII)
"""Where this portal serves a rebuilder's statement; publishers' bundles lie elsewhere."""


class MalformedSummary(MalformedInput):
    """A payload that is no verification summary as this portal signs them, or a verdict that none can state."""

    code: ClassVar[str] = "malformed-summary"
    default_todo: ClassVar[str] = "Fetch the summary again from the portal; docs/predicates has the format."


@dataclass(frozen=True, slots=True)
class SummarySubject:
    """Bytes that the verdict is about: a component by its role, or the file around it by ``role/file name``."""

    name: str
    sha256: str
    sha384: str


@dataclass(frozen=True, slots=True)
class InputAttestation:
    """An attestation that the verdict was derived from: where it can be had, and the sha256 of its bytes."""

    uri: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CountedRebuild:
    """A rebuilder's statement that counted: the sha256 of its bytes, its key's fingerprint, and whose key that is.

    ``key`` and ``operator`` are None where an older verdict does not say them.
    """

    sha256: str
    key: str | None
    operator: str | None


@dataclass(frozen=True, slots=True)
class PolicyReference:
    """Where the policy's bytes can be had, and their sha256."""

    uri: str
    sha256: str

    @classmethod
    def of(cls, policy: PolicyStatement, uri: str) -> Self:
        return cls(uri, policy.sha256)


@dataclass(frozen=True, slots=True)
class ReleaseName:
    """Which release of which project, and the commit it says it was built from."""

    project: str
    tag: str
    commit: str


@dataclass(frozen=True, slots=True)
class VerdictSummary:
    """A verdict as it was at ``time`` (whole seconds, UTC). ``unmet`` are the keys of conditions that did not hold.

    ``rebuilds`` are the inputs that are rebuilders' statements; None in a verdict of before that was said.
    """

    verifier_id: str
    verifier_version: Mapping[str, str]
    time: datetime
    resource_uri: str
    release: ReleaseName
    policy: PolicyReference
    inputs: tuple[InputAttestation, ...]
    subjects: tuple[SummarySubject, ...]
    tally: Tally
    passed: bool
    unmet: tuple[str, ...]
    rebuilds: tuple[CountedRebuild, ...] | None = None

    @property
    def decision(self) -> Decision:
        return Decision.ALLOW if self.passed else Decision.DENY

    @property
    def counted(self) -> Mapping[str, CountedRebuild]:
        """The rebuilders' statements that counted, by the sha256 of their bytes.

        Inputs are publishers' bundles too. An older verdict tells them apart by their addresses alone, and one without
        addresses not at all: then none is known to be a rebuild.
        """
        if self.rebuilds is not None:
            return {entry.sha256: entry for entry in self.rebuilds}
        stated = (entry.sha256 for entry in self.inputs if _STATEMENT_ADDRESS.fullmatch(entry.uri))
        return {sha256: CountedRebuild(sha256, None, None) for sha256 in stated}

    def encode(self) -> bytes:
        """The statement's JSON; ``MalformedSummary`` for a verdict that no reader would get back as it is."""
        if self.time.tzinfo is None or self.time.microsecond:
            raise MalformedSummary("the time has no zone, or fractions of a second", where=_WHERE)
        try:
            payload = compact_json(_document(self))
        except AmbiguousJson as error:
            raise MalformedSummary(f"it cannot be written: {error}", where=_WHERE) from error
        if parse_summary(payload, where=_WHERE) != self:
            raise MalformedSummary("it would be read as another verdict", where=_WHERE)
        return payload


def subjects_of(components: Iterable[PublishedComponent], file_names: Mapping[Role, str]) -> tuple[SummarySubject, ...]:
    """Every component whose bytes are known, and the file around each that is published inside one.

    A component that is absent has no bytes to speak of, and so is none of them.
    """
    found = []
    for component in components:
        role = component.role
        if component.content is not None:
            found.append(_subject(role.value, component.content))
        if component.container is not None:
            found.append(_subject(f"{role.value}/{one_line(file_names.get(role) or 'container')}", component.container))
    return tuple(found)


def parse_summary(payload: bytes, *, where: str = "payload") -> VerdictSummary:
    """Read a signed payload; ``MalformedSummary`` names the first thing that is not as this portal signs it.

    The caller has verified the signature, and decides whether key, verifier and release are those it expects.
    """
    # Read once by the strict reader: duplicate names would let two readers see two verdicts.
    load_object(
        payload,
        max_bytes=MAX_SUMMARY_BYTES,
        where=where,
        error_type=MalformedSummary,
        max_values=MAX_SUMMARY_VALUES,
        max_members=_MAX_MEMBERS,
    )
    try:
        # Only the names of the format: Python's own would be members that other readers do not see.
        statement = _Statement.model_validate_json(payload, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedSummary(first_problem(error)[:400], where=where) from error
    return statement.summary


def _subject(name: str, digests: FileDigests) -> SummarySubject:
    return SummarySubject(name, digests.sha256.hex, digests.sha384.hex)


def _document(summary: VerdictSummary) -> dict[str, Any]:
    release, tally = summary.release, summary.tally
    rebuilds = {} if summary.rebuilds is None else {"rebuilds": [asdict(entry) for entry in summary.rebuilds]}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": subject.name, "digest": {"sha256": subject.sha256, "sha384": subject.sha384}}
            for subject in summary.subjects
        ],
        "predicateType": VERIFICATION_SUMMARY,
        "predicate": {
            "verifier": {"id": summary.verifier_id, "version": dict(summary.verifier_version)},
            "timeVerified": summary.time.astimezone(UTC).strftime(_TIME),
            "resourceUri": summary.resource_uri,
            "policy": {"uri": summary.policy.uri, "digest": {"sha256": summary.policy.sha256}},
            "inputAttestations": [
                {"uri": attestation.uri, "digest": {"sha256": attestation.sha256}} for attestation in summary.inputs
            ],
            "verificationResult": "PASSED" if summary.passed else "FAILED",
            "verifiedLevels": [ALLOW_LEVEL if summary.passed else FAILED_LEVEL],
            "slsaVersion": SLSA_VERSION,
            VERDICT_EXTENSION: {
                "decision": summary.decision.value,
                "unmet": list(summary.unmet),
                "operators": {
                    "needed": tally.needed,
                    "reproduced": tally.reproduced,
                    "contradicting": tally.contradicting,
                    "failed": tally.failed,
                },
                "release": {"project": release.project, "tag": release.tag, "commit": release.commit},
                **rebuilds,
            },
        },
    }


# What follows is the document's shape, for reading alone.


def _subject_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a subject is named by its role, or by role/file name")
    return text


def _moment(text: str) -> str:
    datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    return text


_Uri = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*:[!-~]+$", max_length=2000)]
_SubjectName = Annotated[Line, AfterValidator(_subject_name)]
_Timestamp = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$"), AfterValidator(_moment)
]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _BothDigests(CamelCase):
    sha256: Sha256Hex
    sha384: Sha384Hex


class _Sha256(CamelCase):
    sha256: Sha256Hex


class _Subject(CamelCase):
    name: _SubjectName
    digest: _BothDigests


class _Resource(CamelCase):
    uri: _Uri
    digest: _Sha256


class _Verifier(CamelCase):
    id: _Uri
    version: dict[Line, Line] = Field(max_length=50)


class _Operators(CamelCase):
    needed: _Count
    reproduced: _Count
    contradicting: _Count
    failed: _Count


class _Release(CamelCase):
    project: Line
    tag: Tag
    commit: GitCommit


class _Rebuild(CamelCase):
    sha256: Sha256Hex
    key: Sha256Hex
    operator: Line


class _Verdict(CamelCase):
    decision: Literal["allow", "deny"]
    unmet: Annotated[tuple[Slug, ...], FailFast()] = Field(max_length=100)
    operators: _Operators
    release: _Release
    rebuilds: tuple[_Rebuild, ...] | None = Field(default=None, max_length=MAX_INPUTS)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.unmet)) != len(self.unmet):
            raise ValueError("a condition is named twice")
        if (self.decision == "allow") != (not self.unmet):
            raise ValueError("the decision does not follow from the conditions")
        operators = self.operators
        if self.decision == "allow" and (operators.contradicting or operators.reproduced < operators.needed):
            raise ValueError("the decision does not follow from the operators")
        return self


class _Predicate(CamelCase):
    verifier: _Verifier
    time_verified: _Timestamp
    resource_uri: _Uri
    policy: _Resource
    input_attestations: Annotated[tuple[_Resource, ...], FailFast()] = Field(max_length=MAX_INPUTS)
    verification_result: Literal["PASSED", "FAILED"]
    verified_levels: Annotated[tuple[Literal["TEE_PORTAL_ALLOW", "FAILED"]], FailFast()]
    slsa_version: Literal["1.1"]
    verdict: _Verdict = Field(alias=VERDICT_EXTENSION)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        allows = self.verdict.decision == "allow"
        if self.verification_result != ("PASSED" if allows else "FAILED"):
            raise ValueError("the result is not the decision")
        if self.verified_levels != (ALLOW_LEVEL if allows else FAILED_LEVEL,):
            raise ValueError("the levels are not those of the decision")
        rebuilds = [entry.sha256 for entry in self.verdict.rebuilds or ()]
        if len(set(rebuilds)) != len(rebuilds):
            raise ValueError("a rebuild is named twice")
        if not {entry.digest.sha256 for entry in self.input_attestations}.issuperset(rebuilds):
            raise ValueError("a rebuild is none of the inputs")
        return self


class _Statement(CamelCase):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[tuple[_Subject, ...], FailFast()] = Field(min_length=1, max_length=2 * len(Role))
    predicate_type: Literal["https://slsa.dev/verification_summary/v1"]
    predicate: _Predicate

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [entry.name for entry in self.subject]
        if len(set(names)) != len(names):
            raise ValueError("two subjects have the same name")
        return self

    @property
    def summary(self) -> VerdictSummary:
        predicate = self.predicate
        verdict, release, counts = predicate.verdict, predicate.verdict.release, predicate.verdict.operators
        rebuilds = None
        if verdict.rebuilds is not None:
            rebuilds = tuple(CountedRebuild(entry.sha256, entry.key, entry.operator) for entry in verdict.rebuilds)
        return VerdictSummary(
            verifier_id=predicate.verifier.id,
            verifier_version=predicate.verifier.version,
            time=datetime.strptime(predicate.time_verified, _TIME).replace(tzinfo=UTC),
            resource_uri=predicate.resource_uri,
            release=ReleaseName(release.project, release.tag, release.commit),
            policy=PolicyReference(predicate.policy.uri, predicate.policy.digest.sha256),
            inputs=tuple(InputAttestation(entry.uri, entry.digest.sha256) for entry in predicate.input_attestations),
            subjects=tuple(
                SummarySubject(entry.name, entry.digest.sha256, entry.digest.sha384) for entry in self.subject
            ),
            tally=Tally(counts.needed, counts.reproduced, counts.contradicting, counts.failed),
            passed=verdict.decision == "allow",
            unmet=verdict.unmet,
            rebuilds=rebuilds,
        )
