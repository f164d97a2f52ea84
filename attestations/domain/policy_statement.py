"""A project's policy as a document with one spelling, so that its sha256 names it (RFC 8785).

Whoever reads a signed verdict fetches these bytes and sees what the release was held against.
docs/predicates/verification-summary.md describes the document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import FailFast, Field, StringConstraints, ValidationError

from attestations.domain.findings import TrustRootRef
from attestations.domain.policy import PublisherPolicy
from builds.domain.errors import MalformedInput
from builds.domain.evidence import Policy
from builds.domain.frozen import CamelCase, Sha256Hex, first_problem
from builds.domain.printable import Line
from builds.domain.strict_json import AmbiguousJson, compact_json, load_object

POLICY_TYPE: Final = "https://tee-portal.org/policy/v1"
MAX_POLICY_BYTES = 1024 * 1024
MAX_POLICY_VALUES = 50_000
MAX_MEMBERS = 100
_WHERE = "policy"

DigestText = Annotated[
    str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$")
]


class MalformedPolicy(MalformedInput):
    """A document that is no policy of this portal, or not in the one spelling that its digest is of."""

    code: ClassVar[str] = "malformed-policy"
    default_todo: ClassVar[str] = "Fetch the policy again from the address in the summary, byte for byte."


class NamedRoot(CamelCase):
    """A trust root that may vouch for the publisher: its name here, and the sha256 of its bytes."""

    name: Line
    sha256: Sha256Hex


class ExpectedIdentity(CamelCase):
    """A publisher, clause by clause as in ``PublisherPolicy``; what is empty is not asked for."""

    issuer: Line
    repository: Line
    repository_id: Line
    owner_id: Line
    workflow: Line
    ref: Line
    build_signer: Line
    runner_environment: Line
    san: Line
    predicate_types: Annotated[tuple[Line, ...], FailFast()] = Field(max_length=100)
    public_keys: Annotated[tuple[Sha256Hex, ...], FailFast()] = Field(max_length=100)
    trust_roots: Annotated[tuple[NamedRoot, ...], FailFast()] = Field(max_length=100)

    @classmethod
    def of(cls, policy: PublisherPolicy, roots: Iterable[TrustRootRef]) -> Self:
        """The identity that a policy expects. Its commit stays out: that is the release's, not the project's.

        Raises ``MalformedPolicy`` for a clause that no document of one line each can hold.
        """
        try:
            return cls(
                issuer=policy.issuer,
                repository=policy.repository,
                repository_id=policy.repository_id,
                owner_id=policy.owner_id,
                workflow=policy.workflow,
                ref=policy.ref,
                build_signer=policy.build_signer,
                runner_environment=policy.runner_environment,
                san=policy.san,
                predicate_types=tuple(sorted(set(policy.predicate_types))),
                public_keys=tuple(sorted(set(policy.keys))),
                trust_roots=tuple(NamedRoot(name=root.name, sha256=root.sha256) for root in sorted(roots, key=_name)),
            )
        except ValidationError as error:
            raise MalformedPolicy(first_problem(error)[:400], where=_WHERE) from error


class PolicyStatement(CamelCase):
    """What a project asks of a release: how many operators, which opaque inputs are accepted, who may publish."""

    policy_type: Literal["https://tee-portal.org/policy/v1"] = POLICY_TYPE
    project: Line
    needed_operators: Annotated[int, Field(ge=0, lt=2**31)]
    accepted_opaque_inputs: Annotated[tuple[DigestText, ...], FailFast()] = Field(max_length=5000)
    expected_publishers: Annotated[tuple[ExpectedIdentity, ...], FailFast()] = Field(max_length=100)

    @classmethod
    def of(cls, project: str, policy: Policy, publishers: Iterable[ExpectedIdentity]) -> Self:
        """The document of a project's policy; ``MalformedPolicy`` for what it cannot hold."""
        try:
            return cls(
                project=project,
                needed_operators=policy.needed_operators,
                accepted_opaque_inputs=tuple(sorted(map(str, policy.accepted_opaque))),
                expected_publishers=tuple(publishers),
            )
        except ValidationError as error:
            raise MalformedPolicy(first_problem(error)[:400], where=_WHERE) from error

    def encode(self) -> bytes:
        """The one spelling: members sorted, no spaces, UTF-8. Numbers are integers, so this is RFC 8785."""
        document = self.model_dump(mode="json", by_alias=True)
        try:
            # Sorted by code point, which for these ASCII names is the order RFC 8785 asks for.
            return compact_json(json.loads(json.dumps(document, sort_keys=True)))
        except AmbiguousJson as error:
            raise MalformedPolicy(f"it cannot be written: {error}", where=_WHERE) from error

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()


def parse_policy(data: bytes, *, where: str = _WHERE) -> PolicyStatement:
    """Read a policy's bytes; ``MalformedPolicy`` unless they are the spelling that ``encode`` gives."""
    load_object(
        data,
        max_bytes=MAX_POLICY_BYTES,
        where=where,
        error_type=MalformedPolicy,
        max_values=MAX_POLICY_VALUES,
        max_members=MAX_MEMBERS,
    )
    try:
        policy = PolicyStatement.model_validate_json(data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedPolicy(first_problem(error)[:400], where=where) from error
    if policy.encode() != data:
        raise MalformedPolicy("the document is spelled differently from what a policy's digest is of", where=where)
    return policy


def _name(root: TrustRootRef) -> tuple[str, str]:
    return root.name, root.sha256
