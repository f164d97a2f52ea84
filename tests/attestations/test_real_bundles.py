"""Real bundles from public repositories, when they lie beside the project; none of them is ours to keep."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass

import pytest

from attestations.domain.findings import Artifact, Finding, judge_bundle
from attestations.domain.identity import SignerIdentity
from attestations.domain.policy import PublisherPolicy
from attestations.sigstore_verifier import BundleVerifier, TrustRoot
from attestations.vendored_roots import public_good
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from tee_portal.env import BASE_DIR

FOLDER = BASE_DIR.parent / "shared" / "data" / "sigstore"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "INDEX.tsv").is_file(), reason=f"no collection of real bundles: {FOLDER}/INDEX.tsv is not there"
)


@dataclass(frozen=True)
class Row:
    """A line of the index: a bundle, an artifact (file or digest), the root's name, and what it should give."""

    bundle: str
    artifact: str
    root: str
    expected: str


def rows() -> list[Row]:
    if not (FOLDER / "INDEX.tsv").is_file():
        return []
    with (FOLDER / "INDEX.tsv").open(newline="") as file:
        return [Row(*line[:4]) for line in csv.reader(file, delimiter="\t")][1:]


@pytest.fixture(scope="module")
def roots() -> dict[str, TrustRoot]:
    lines = (FOLDER / "github-private-no-tlog" / "trusted_root.jsonl").read_bytes().splitlines()
    return {"public-good": public_good(), "github": TrustRoot.read("github", lines[1])}


def digests(artifact: str) -> frozenset[Digest]:
    if ":" in artifact:
        return frozenset({Digest.parse(artifact)})
    return frozenset({Digest.sha256(hashlib.sha256((FOLDER / artifact).read_bytes()).hexdigest())})


def examine(row: Row, verifier: BundleVerifier, policy: PublisherPolicy | None = None) -> Finding:
    known = digests(row.artifact)
    verification = verifier.verify((FOLDER / row.bundle).read_bytes(), known)
    return judge_bundle(verification, Artifact(known), policy)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.bundle} {row.artifact[:40]}")
def test_each_real_bundle_gives_the_index_s_answer_under_its_own_root(row: Row, roots: dict[str, TrustRoot]) -> None:
    finding = examine(row, BundleVerifier(list(roots.values())))
    assert finding.verification.trust_root is not None
    assert finding.verification.trust_root.name == row.root
    if row.expected == "rejected: subject digest":
        assert finding.state is AttestationState.REJECTED
        assert "subjects do not include" in finding.reason
        return
    assert finding.state is AttestationState.VERIFIED, finding.reason
    if row.expected.startswith("as its inclusion proof allows"):
        assert finding.verification.log is not None
        assert finding.verification.log.inclusion == "inclusion proof and promise"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.bundle} {row.artifact[:40]}")
def test_no_real_bundle_verifies_under_the_other_root(row: Row, roots: dict[str, TrustRoot]) -> None:
    others = [root for name, root in roots.items() if name != row.root]
    assert examine(row, BundleVerifier(others)).state is AttestationState.REJECTED


def test_a_publisher_that_signs_through_another_s_workflow_is_told_from_the_workflow_s_owner(
    roots: dict[str, TrustRoot],
) -> None:
    row = next(row for row in rows() if row.bundle == "MODULE.bazel.intoto.jsonl")
    verifier = BundleVerifier(list(roots.values()))
    signer = examine(row, verifier).verification.signer
    assert isinstance(signer, SignerIdentity)
    assert signer.caller is not None
    expected = PublisherPolicy(
        repository=signer.source_repository,
        workflow=signer.caller.path,
        build_signer="https://github.com/bazel-contrib/publish-to-bcr/.github/workflows/publish.yaml",
        commit=signer.source_commit,
        predicate_types=("https://slsa.dev/provenance/v1",),
    )
    assert examine(row, verifier, expected).state is AttestationState.VERIFIED, examine(row, verifier, expected).reason
    other = PublisherPolicy(
        repository=signer.source_repository, workflow=signer.caller.path, commit=signer.source_commit
    )
    assert examine(row, verifier, other).state is AttestationState.WRONG_IDENTITY
