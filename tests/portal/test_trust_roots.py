"""Trust roots that an administrator adds, replaces and removes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from attestations.local_sigstore import TrustDomain
from attestations.services import trust_roots
from builds.domain.evidence import AttestationState
from builds.models import Release
from tests.portal.attested import attest_all, state_of
from tests.portal.conftest import ROOT_NAME

pytestmark = pytest.mark.django_db


def test_trust_roots_are_listed_added_and_refused_by_command(
    domain: TrustDomain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "roots.jsonl"
    lines = [json.dumps(json.loads(TrustDomain(name).trusted_root())).encode() for name in ("one", "two")]
    path.write_bytes(b"\n".join(lines))
    call_command("trust_root", "add", "two", str(path), "--line", "2")
    call_command("trust_root", "list")
    told = capsys.readouterr().out
    assert "public-good  sha256:6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66" in told
    assert f"two  sha256:{hashlib.sha256(lines[1]).hexdigest()}" in told
    assert "never" in told
    for arguments in (("add", "bad", str(path)), ("add", "bad", str(path), "--line", "9"), ("refresh", "two")):
        with pytest.raises(CommandError):
            call_command("trust_root", *arguments)


def test_a_trust_root_is_never_replaced_by_accident_and_the_vendored_one_can_be_had_back(
    release: Release, domain: TrustDomain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vendored = trust_roots.known()["public-good"].root.ref
    path = tmp_path / "root.json"
    path.write_bytes(domain.trusted_root())
    with pytest.raises(CommandError, match=rf"trust-root-taken.*sha256:{vendored.sha256}.*--replace"):
        call_command("trust_root", "add", "public-good", str(path))
    assert trust_roots.known()["public-good"].root.ref == vendored
    call_command("trust_root", "add", "public-good", str(path), "--replace")
    assert "a local demo trust root" in trust_roots.sentences(trust_roots.known())["public-good"]
    call_command("trust_root", "remove", "public-good")
    assert trust_roots.known()["public-good"].root.ref == vendored
    assert "local demo" not in trust_roots.sentences(trust_roots.known())["public-good"]
    with pytest.raises(CommandError, match="unknown-trust-root"):
        call_command("trust_root", "remove", "public-good")


@pytest.mark.parametrize("name", ["", "Public Good", "../x", "x" * 61, "é"])
def test_a_trust_root_has_a_name_that_can_be_typed(domain: TrustDomain, name: str) -> None:
    with pytest.raises(trust_roots.UnusableName):
        trust_roots.add(name, domain.trusted_root(), "test")


def test_what_a_removed_root_vouched_for_counts_no_longer_and_counts_again_when_it_is_added_again(
    release: Release, domain: TrustDomain
) -> None:
    attest_all(release, domain)
    assert state_of(release) is AttestationState.VERIFIED
    trust_roots.remove(ROOT_NAME)
    assert state_of(release) is AttestationState.UNCHECKED
    trust_roots.add(ROOT_NAME, domain.trusted_root(), "test")
    assert state_of(release) is AttestationState.VERIFIED


@pytest.mark.parametrize("address", ["http://tuf.example", "file:///etc", "https://", "ftp://127.0.0.1", "http://["])
def test_a_trust_root_is_renewed_over_https_only(domain: TrustDomain, address: str) -> None:
    with pytest.raises(trust_roots.UnusableTufAddress):
        trust_roots.add("new", domain.trusted_root(), "test", tuf_url=address, tuf_root=b"{}")
    assert "new" not in trust_roots.known()
