"""Fills a portal's database with one of everything that the API tells of; run by the portal's own interpreter.

``manage.py shell --command "from tests.support.api_data import fill; fill(...)"`` prints what is where, as JSON.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from attestations.local_sigstore import GitHubWorkflow, TrustDomain
from attestations.models import AssetHost, BundleRecord, ExpectedPublisher, ProjectPublisher
from attestations.services import trust_roots, verification, webhooks
from attestations.services.verdicts import record_verdict
from builds.domain.access import Scope
from builds.domain.configuration import WantedConfiguration
from builds.domain.digest import Digest
from builds.domain.errors import PortalError
from builds.domain.lifecycle import RunState
from builds.domain.roles import Role
from builds.models import ApiToken, Measurement, Project, Rebuild, Release
from builds.pipeline.material_store import MaterialStore
from builds.services import measurement_index, queueing, rebuilding, running
from builds.services.configurations import launch_of, measurement_of
from builds.snapshot import one_snapshot
from tests.support.accounts import account_named, token_of
from tests.support.operators import operator_named
from tests.support.rows import COMMIT, rebuilt, release_row
from tests.support.statements import measured, subject

ROOT_NAME = "local-demo-trust-root"
WORKFLOW = GitHubWorkflow(repository="example/enclave", commit=COMMIT)
PROJECT, ALLOWED, DENIED, UNKNOWN = "enclave", "v1.0.0", "v1.0.1", "v1/rc+1"
OWNER, OTHER = "ada", "ben"


def fill(firmware: str) -> None:
    """An allowed release, one that was tampered with, one that nobody looked at, and what an account may hold."""
    project = Project.objects.create(name=PROJECT, source_url="file:///nowhere")
    # Whose account may announce releases of it, and from where.
    ProjectPublisher.objects.create(project=project, account=account_named(OWNER))
    AssetHost.objects.create(project=project, host="downloads.example", port=443)
    domain = TrustDomain()
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "minted for a test")
    ExpectedPublisher.objects.create(
        project=project,
        repository="https://github.com/example/enclave",
        workflow=".github/workflows/release-tee.yml",
        trust_roots=[ROOT_NAME],
    )
    kept = MaterialStore(settings.FIRMWARE_STORE).add_bytes(Path(firmware).read_bytes())
    allowed = _release(project, ALLOWED, kept, Path(firmware).read_bytes())
    _attest(allowed, domain)
    rebuilds = [_rebuild(allowed, name) for name in ("alder", "birch")]
    denied = release_row(project, DENIED)
    rebuilt(denied, by="alder", changed=(Role.INITRD,))
    release_row(project, UNKNOWN)
    Release.objects.update(materials_stored_at=timezone.now())
    operator_named("cedar", accepted=False)
    measurement_index.fill(allowed.pk)
    for release in (allowed, denied):
        record_verdict(release.pk)
    facts = {
        **_rebuilds_of(denied, rebuilds),
        **_tokens(),
        "measurement": Measurement.objects.get(launch_configuration__release=allowed).published,
        "kernel": allowed.components.get(role=Role.KERNEL).sha256,
        "manifest": allowed.manifest_sha256,
        "bundle": BundleRecord.objects.order_by("pk")[0].sha256,
        "statement": rebuilds[0].statement.payload_sha256,
        "webhook": _webhook(OWNER),
        "webhook_of_another": _webhook(OTHER),
    }
    print(json.dumps(facts))  # noqa: T201 - its answer


def _release(project: Project, tag: str, ovmf: Digest, firmware: bytes) -> Release:
    """Whose firmware is real, so that its measurement is the one that its files give."""
    release = release_row(project, tag)
    release.components.filter(role=Role.OVMF).update(
        size=len(firmware),
        sha256=ovmf.hex,
        sha384=hashlib.sha384(firmware).hexdigest(),
        claimed_digest=str(ovmf),
    )
    with one_snapshot():
        loaded = Release.objects.with_evidence().get(pk=release.pk)
    (row,) = loaded.launch_configurations.all()
    value = measurement_of(loaded, WantedConfiguration(launch_of(row), row.command_line or "")).hex
    Measurement.objects.filter(launch_configuration=row).update(published=value, recomputed=value)
    return Release.objects.get(pk=release.pk)


def _attest(release: Release, domain: TrustDomain) -> None:
    for row in release.components.all():
        data = domain.attest({row.role: Digest.sha256(row.sha256)}, WORKFLOW)
        verification.record_sighting(data, release, Role(row.role), "test")
    verification.verify_release(release)


def _rebuild(release: Release, operator: str) -> Rebuild:
    """The release's own bytes and measurement, as this operator signed them."""
    subjects = [
        subject(row.role, row.size, row.sha256, row.sha384, "package" if row.role == Role.KERNEL else "built")
        for row in release.components.all()
    ]
    value = Measurement.objects.get(launch_configuration__release=release).published
    return rebuilt(release, by=operator, subjects=subjects, measurements=[measured(value)])


def _rebuilds_of(release: Release, ended: list[Rebuild]) -> dict[str, Any]:
    """One that failed, one that runs and one that waits beside those that succeeded."""
    local = running.local_rebuilder()
    failed = queueing.request_rebuild(release, local)
    claim = rebuilding.claim(failed.pk, local, "seed")
    assert claim is not None
    gone = PortalError("libc6 2.41-12 is gone from its archive", where="stage materials", todo="Lock a newer version.")
    rebuilding.finish(claim, RunState.FAILED, failure=gone)
    waits = queueing.request_rebuild(release, local)
    return {"succeeded": str(ended[0].pk), "failed": str(failed.pk), "waits": str(waits.pk)}


def _tokens() -> dict[str, Any]:
    """The secrets of a token for each scope, and of some that are good for nothing any more."""
    made = {scope.value: token_of(OWNER, [scope]).secret for scope in Scope}
    expired, revoked = (token_of(OWNER, list(Scope)) for _ in range(2))
    now = timezone.now()
    ApiToken.objects.filter(pk=expired.token.pk).update(
        created_at=now - timedelta(days=7), expires_at=now - timedelta(seconds=1)
    )
    ApiToken.objects.filter(pk=revoked.token.pk).update(revoked_at=now)
    everything = token_of(OWNER, list(Scope)).secret
    return {"tokens": made, "expired": expired.secret, "revoked": revoked.secret, "everything": everything}


def _webhook(owner: str) -> str:
    made, _ = webhooks.add(account_named(owner).pk, f"https://{owner}.example/hook", None)
    return str(made.pk)
