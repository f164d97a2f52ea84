"""The bytes that the API's answers name: the same for ever, known again, and open to pages of other origins."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from attestations.local_sigstore import TrustDomain
from attestations.models import BundleRecord, VerdictRecord
from attestations.services.verdicts import record_verdict
from builds.models import Rebuild, Release
from tests.portal.attested import attest_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def addresses(release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain) -> list[str]:
    """One of every kind."""
    attest_all(release, domain)
    statement = make_rebuild(release, by="alder").statement
    record_verdict(release.pk)
    record = VerdictRecord.objects.filter(release=release).latest("at")
    assert record.key is not None
    payload = statement.payload_sha256
    return [
        f"/documents/{release.manifest_sha256}",
        f"/attestations/{BundleRecord.objects.all()[0].sha256}/bundle.json",
        f"/verdicts/{record.payload_sha256}.vsa.sigstore.json",
        f"/verdicts/{record.payload_sha256}.dsse.json",
        f"/policies/{record.policy_sha256}.json",
        f"/portal-keys/{record.key.fingerprint}.pub",
        "/portal.pub",
        *(
            f"/statements/{payload}{end}"
            for end in (".received.json", ".dsse.json", ".rebuild.sigstore.json", ".rebuild.pub")
        ),
        f"/rebuilder-keys/{statement.key.fingerprint}.pub",
    ]


def test_raw_bytes_may_be_read_by_pages_of_other_origins_and_are_known_again(addresses: list[str]) -> None:
    client = Client()
    for address in addresses:
        answer = client.get(address, headers={"Origin": "https://other.example"})
        assert answer.status_code == 200, address
        again = client.get(address, headers={"If-None-Match": answer["ETag"]})
        assert (again.status_code, again.content) == (304, b""), address
        for told in (answer, again):
            assert told["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in told
            assert told["Cache-Control"] == answer["Cache-Control"]
        assert client.get(address, headers={"If-None-Match": '"another"'}).content == answer.content


def test_an_address_takes_its_digest_as_answers_write_it(addresses: list[str]) -> None:
    client = Client()
    api = [f"/api/v1/{kind}/{address.split('/')[2]}" for address, kind in _with_an_answer(addresses)]
    assert len(api) == 2
    for address in (*addresses, *api):
        named = re.sub("/(?=[0-9a-f]{64})", "/sha256:", address)
        assert (named != address) == (address != "/portal.pub")
        assert client.get(named).content == client.get(address).content != b"", address


def _with_an_answer(addresses: list[str]) -> list[tuple[str, str]]:
    """Those of a bundle and of a statement, with what the API calls them."""
    kinds = {"bundle.json": "attestations", "received.json": "statements"}
    return [
        (address.replace(".received.json", ""), kind)
        for address in addresses
        for end, kind in kinds.items()
        if address.endswith(end)
    ]


def test_what_is_not_there_is_kept_by_nobody(addresses: list[str]) -> None:
    answer = Client().get(f"/documents/{'0' * 64}")
    assert answer.status_code == 404
    assert "immutable" not in answer.headers.get("Cache-Control", "")
