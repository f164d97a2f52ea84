"""The expected publisher of a project as the pure policy, and the verifier with its roots and keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from attestations.domain.findings import Artifact
from attestations.domain.policy import PublisherPolicy
from attestations.models import ExpectedPublisher
from attestations.services import trust_roots
from attestations.services.trust_roots import KnownTrustRoot
from attestations.sigstore_verifier import VERIFIER, BundleVerifier, TrustedKey, read_public_key
from builds.domain.errors import PortalError
from builds.services import operators

# Raise this when the rules of ``attestations.domain`` change, so that every finding is made anew.
RULES = 4

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Judge:
    """All that judges a project's bundles: verifier, policy, and the digest of what both were made from."""

    verifier: BundleVerifier
    policy: PublisherPolicy
    inputs: str

    def basis(self, commit: str, artifact: Artifact) -> str:
        """What a finding rests on, as a sha256: when it changes, the finding is out of date."""
        digests = sorted(map(str, artifact.content)), sorted(map(str, artifact.container))
        return hashlib.sha256(repr((self.inputs, commit, digests)).encode()).hexdigest()


def judges_of(
    projects: Collection[int],
    roots: Mapping[str, KnownTrustRoot] | None = None,
    expected: Iterable[ExpectedPublisher] | None = None,
) -> dict[int, Judge | PortalError]:
    """The judge of each project by its primary key, in a constant number of queries.

    ``roots`` are all that are known, and ``expected`` those of the projects, from a caller that has asked already.
    Without an expected publisher the policy names nobody, and so verifies nothing. A project whose trust root nobody
    added, or whose key cannot be read, has that error instead of a judge.
    """
    stored = ExpectedPublisher.objects.filter(project__in=projects) if expected is None else expected
    publishers = {entry.project_id: entry for entry in stored}
    known = trust_roots.known() if roots is None else roots
    judges: dict[int, Judge | PortalError] = {}
    for project in projects:
        try:
            judges[project] = _judge(publishers.get(project) or ExpectedPublisher(project_id=project), known)
        except PortalError as error:
            judges[project] = error
    return judges


def tie_operators() -> int:
    """Tie operators that show their keys where a project's expected publisher works; how many were tied.

    Also where a project's source is fetched from elsewhere, as from a mirror.
    """
    expected = ExpectedPublisher.objects.exclude(repository="").values_list("project", "repository")
    return operators.tie_publishers(dict(expected))


def _judge(publisher: ExpectedPublisher, known: Mapping[str, KnownTrustRoot]) -> Judge:
    roots = trust_roots.named(publisher.trust_roots, known)
    keys = public_keys(publisher)
    policy = policy_of(publisher, keys)
    inputs = (RULES, VERIFIER, [(root.ref.name, root.ref.sha256) for root in roots], policy.digest)
    return Judge(BundleVerifier(roots, keys), policy, hashlib.sha256(repr(inputs).encode()).hexdigest())


def public_keys(publisher: ExpectedPublisher) -> list[TrustedKey]:
    """The plain keys a publisher may sign with; ``MalformedKey`` names one that cannot be read."""
    return [read_public_key(pem.encode()) for pem in _PEM.findall(publisher.public_keys)]


def policy_of(publisher: ExpectedPublisher, keys: list[TrustedKey]) -> PublisherPolicy:
    return PublisherPolicy(
        issuer=publisher.issuer,
        repository=publisher.repository,
        workflow=publisher.workflow,
        ref=publisher.ref,
        build_signer=publisher.build_signer,
        runner_environment=publisher.runner_environment,
        repository_id=publisher.repository_id,
        owner_id=publisher.owner_id,
        predicate_types=tuple(publisher.predicate_types),
        keys=tuple(key.fingerprint for key in keys),
        san=publisher.san,
    )
