"""Our verifier, kept warm: ``python -m builds.bench.attestation_verifier TRUSTED_ROOT BUNDLE DIGEST COMMIT``.

For each line with a number on stdin it verifies and judges that often and prints the seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from attestations.domain.findings import Artifact, judge_bundle
from attestations.domain.policy import PublisherPolicy
from attestations.local_sigstore import GitHubWorkflow
from attestations.sigstore_verifier import BundleVerifier, TrustRoot
from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.domain.evidence import AttestationState


def policy_for(workflow: GitHubWorkflow) -> PublisherPolicy:
    """A policy that asks for every clause a GitHub workflow can meet."""
    return PublisherPolicy(
        repository=f"https://github.com/{workflow.repository}",
        workflow=workflow.workflow,
        ref="refs/tags/v*",
        repository_id=workflow.repository_id,
        owner_id=workflow.owner_id,
        commit=workflow.commit,
    )


def main() -> None:
    root, path, digest, commit = sys.argv[1:]
    verifier = BundleVerifier([TrustRoot.read("bench", Path(root).read_bytes())])
    data = Path(path).read_bytes()
    artifact = Artifact(frozenset({Digest.parse(digest)}))
    policy = policy_for(GitHubWorkflow(commit=commit))
    for line in sys.stdin:
        began = time.monotonic()
        for _ in range(int(line)):
            finding = judge_bundle(verifier.verify(data, artifact.content), artifact, policy)
            if finding.state is not AttestationState.VERIFIED:
                raise PortalError(finding.reason, where="benchmark")
        print(time.monotonic() - began, flush=True)  # noqa: T201 - the answer to the process that asked


if __name__ == "__main__":
    main()
