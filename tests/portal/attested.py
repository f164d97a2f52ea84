"""A release and the bundles that speak of it: what tests of attestations in the portal share."""

from __future__ import annotations

import hashlib

from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import Sighting
from attestations.services import verification
from attestations.services.standing import ReleaseStanding, judged_view
from builds.domain.digest import Digest
from builds.domain.evidence import AttestationState
from builds.domain.roles import Role
from builds.models import Release
from builds.services.evidence import ReleaseView
from tests.portal.conftest import COMMIT

WORKFLOW = GitHubWorkflow(repository="example/enclave", commit=COMMIT)


def digest_of(role: Role) -> Digest:
    return Digest.sha256(hashlib.sha256(role.encode()).hexdigest())


def found_for(release: Release, role: Role, data: bytes) -> Sighting:
    return verification.record_sighting(data, release, role, "test")


def judged(release: Release) -> tuple[ReleaseView, ReleaseStanding]:
    return judged_view(Release.objects.with_evidence().get(pk=release.pk))


def state_of(release: Release, role: Role = Role.KATANA) -> AttestationState:
    return judged(release)[1].by_role[role].state


def condition(release: Release) -> tuple[str, str]:
    view, _ = judged(release)
    entry = next(entry for entry in view.verdict.conditions if entry.key == "attested-by-expected-publisher")
    return entry.state.value, entry.sentence


def attest_all(release: Release, domain: TrustDomain, workflow: GitHubWorkflow = WORKFLOW) -> None:
    for role in Role:
        found_for(release, role, domain.attest({role.value: digest_of(role)}, workflow))
    verification.verify_release(release)
