"""Other verifiers of the field: cosign agrees with what we sign, and with the command a release page gives."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from attestations.local_sigstore import GitHubWorkflow, Logging, TrustDomain
from attestations.models import ExpectedPublisher
from attestations.services import repeating, trust_roots, verification
from attestations.services.repeating import RepeatCommands
from attestations.services.standing import judged_view
from builds.bench import attestation_page
from builds.bench.attestation_page import Sizes
from builds.domain.digest import Digest
from builds.domain.roles import Role
from builds.models import Release
from builds.snapshot import one_snapshot
from tests.portal.conftest import COMMIT, make_release, project

__all__ = ["make_release", "project"]

pytestmark = [pytest.mark.slow, pytest.mark.archive]

FILE = Role.KATANA.value.encode()
WORKFLOW = GitHubWorkflow(commit=COMMIT)


@pytest.mark.django_db
@pytest.mark.parametrize("style", [Logging.REKOR_V1, Logging.REKOR_V2])
def test_the_cosign_command_of_a_release_page_works_when_pasted(
    cosign: Path, tmp_path: Path, make_release: Callable[..., Release], style: Logging
) -> None:
    domain = TrustDomain()
    release = expecting(make_release(), domain)
    digest = Digest.sha256(hashlib.sha256(FILE).hexdigest())
    bundle = domain.attest({"katana": digest}, WORKFLOW, logging=style)
    _, line = page_commands(release, bundle)
    (tmp_path / "katana.img").write_bytes(FILE)
    (tmp_path / "katana.img.sigstore.json").write_bytes(bundle)
    (tmp_path / "trusted_root.json").write_bytes(domain.trusted_root())
    good = pasted(cosign, line, tmp_path)
    assert good.returncode == 0, good.stderr
    (tmp_path / "katana.img").write_bytes(FILE + b"x")
    assert pasted(cosign, line, tmp_path).returncode != 0
    (tmp_path / "katana.img").write_bytes(FILE)
    for other in (replace(WORKFLOW, ref="refs/heads/main"), replace(WORKFLOW, commit="0" * 40)):
        wrong = domain.attest({"katana": digest}, other, logging=style)
        (tmp_path / "katana.img.sigstore.json").write_bytes(wrong)
        assert pasted(cosign, line, tmp_path).returncode != 0


@pytest.mark.django_db
def test_the_cosign_command_for_a_strangers_bundle_refuses_it_as_the_page_does(
    cosign: Path, tmp_path: Path, make_release: Callable[..., Release]
) -> None:
    domain = TrustDomain()
    release = expecting(make_release(), domain)
    digest = Digest.sha256(hashlib.sha256(FILE).hexdigest())
    bundle = domain.attest({"katana": digest}, replace(WORKFLOW, workflow=".github/workflows/nightly.yml"))
    commands, line = page_commands(release, bundle)
    assert commands.must_fail
    (tmp_path / "katana.img").write_bytes(FILE)
    (tmp_path / "trusted_root.json").write_bytes(domain.trusted_root())
    (tmp_path / "katana.img.sigstore.json").write_bytes(bundle)
    refused = pasted(cosign, line, tmp_path)
    assert refused.returncode != 0
    assert "nightly.yml" in refused.stderr
    (tmp_path / "katana.img.sigstore.json").write_bytes(domain.attest({"katana": digest}, WORKFLOW))
    assert pasted(cosign, line, tmp_path).returncode == 0


def expecting(release: Release, domain: TrustDomain) -> Release:
    trust_roots.add("local", domain.trusted_root(), "minted for a test")
    ExpectedPublisher.objects.create(
        project=release.project,
        repository="https://github.com/example/reference-enclave",
        workflow=WORKFLOW.workflow,
        trust_roots=["local"],
    )
    return release


def page_commands(release: Release, bundle: bytes) -> tuple[RepeatCommands, str]:
    """The page's commands for the one component that the bundle is about, and the one of them for cosign."""
    verification.record_sighting(bundle, release, Role.KATANA, "test")
    verification.verify_release(release)
    with one_snapshot():
        _, standing = judged_view(Release.objects.with_evidence().get(pk=release.pk))
    (commands,) = repeating.commands_for(release, standing, "https://portal.example")
    (line,) = [line for line in commands.lines if line.startswith("cosign ")]
    return commands, line


def pasted(cosign: Path, line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(line)
    assert program == "cosign"
    return subprocess.run([str(cosign), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_the_attestation_benchmark_runs_from_end_to_end(tmp_path: Path) -> None:
    sizes = Sizes(count=3, rounds=2, cold_rounds=1, stored=20)
    text = attestation_page.measure(tmp_path, settings.DATA_DIR / "bench", sizes, print)
    assert "rekor-v1, 1 at a time" in text
    assert "stored bundles judged anew" in text
    assert "cosign was not measured" not in text
