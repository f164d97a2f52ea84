"""One local trust domain for the whole run, and the policy its workflow satisfies."""

from __future__ import annotations

import hashlib

import pytest

from attestations.domain.findings import Artifact
from attestations.domain.policy import PublisherPolicy
from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.sigstore_verifier import BundleVerifier, TrustRoot
from builds.domain.digest import Digest

FILE = b"the published file"
FILE_DIGEST = Digest.sha256(hashlib.sha256(FILE).hexdigest())
COMMIT = "5f" * 20
WORKFLOW = GitHubWorkflow(commit=COMMIT)
POLICY = PublisherPolicy(
    repository="https://github.com/example/reference-enclave",
    workflow=".github/workflows/release-tee.yml",
    ref="refs/tags/v*",
    repository_id="100001",
    owner_id="200002",
    commit=COMMIT,
)
ARTIFACT = Artifact(frozenset({FILE_DIGEST}))


@pytest.fixture(scope="session")
def domain() -> TrustDomain:
    return TrustDomain()


@pytest.fixture(scope="session")
def logless_domain() -> TrustDomain:
    return TrustDomain("local logless trust root", has_log=False)


@pytest.fixture(scope="session")
def verifier(domain: TrustDomain, logless_domain: TrustDomain) -> BundleVerifier:
    return BundleVerifier(
        [TrustRoot.read("local", domain.trusted_root()), TrustRoot.read("logless", logless_domain.trusted_root())]
    )


@pytest.fixture(scope="session")
def bundle(domain: TrustDomain) -> bytes:
    """A good bundle: the expected workflow attests the file at the release's commit."""
    return domain.attest({"katana": FILE_DIGEST}, WORKFLOW)
