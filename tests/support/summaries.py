"""Verdicts as the portal would sign them, made without judging anything."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from attestations.domain.findings import TrustRootRef
from attestations.domain.policy import PublisherPolicy
from attestations.domain.policy_statement import ExpectedIdentity, PolicyStatement
from attestations.domain.summary import (
    InputAttestation,
    PolicyReference,
    ReleaseName,
    SummarySubject,
    VerdictSummary,
)
from builds.domain.consensus import Tally
from builds.domain.digest import Digest
from builds.domain.evidence import Policy

POLICY = PolicyStatement.of(
    "enclave",
    Policy(2, frozenset({Digest.sha256("e" * 64)})),
    [
        ExpectedIdentity.of(
            PublisherPolicy(
                repository="https://github.com/example/reference-enclave",
                workflow=".github/workflows/release.yml",
                ref="refs/tags/v*",
            ),
            [TrustRootRef("public-good", "f" * 64)],
        )
    ],
)

_ALLOWED = VerdictSummary(
    verifier_id="https://portal.example/",
    verifier_version={"tee-portal": "0.1.0"},
    time=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    resource_uri="https://portal.example/releases/enclave/v1.0.0",
    release=ReleaseName("enclave", "v1.0.0", "c" * 40),
    policy=PolicyReference.of(POLICY, "https://portal.example/api/v1/policies/1"),
    inputs=(InputAttestation("https://portal.example/api/v1/statements/1", "d" * 64),),
    subjects=(SummarySubject("kernel", "a" * 64, "b" * 96),),
    tally=Tally(2, 2, 0, 0),
    passed=True,
    unmet=(),
)


def allowed(**changed: Any) -> VerdictSummary:
    """A release that meets every condition; ``changed`` replaces fields by name."""
    return replace(_ALLOWED, **changed)


def denied(**changed: Any) -> VerdictSummary:
    """One that too few operators reproduced."""
    unmet = ("reproduced-by-enough-operators",)
    return allowed(**{"passed": False, "unmet": unmet, "tally": Tally(2, 1, 0, 1), **changed})


def about(data: bytes, name: str = "kernel") -> SummarySubject:
    return SummarySubject(name, hashlib.sha256(data).hexdigest(), hashlib.sha384(data).hexdigest())
