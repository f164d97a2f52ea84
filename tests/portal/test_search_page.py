"""The search goes straight to the one thing that was pasted, and otherwise says what it looked for and where."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from attestations.local_sigstore import TrustDomain
from attestations.models import BundleRecord, VerdictRecord
from attestations.services import verdicts
from builds.domain.origins import OriginKind
from builds.domain.roles import Role
from builds.models import (
    EmbeddedFile,
    Material,
    Measurement,
    Project,
    Rebuild,
    RebuilderKey,
    RebuiltFile,
    Release,
    StoredStatement,
)
from tests.portal.attested import WORKFLOW, digest_of, found_for
from tests.portal.test_pages import page
from tests.support.operators import MEASUREMENT, digests

pytestmark = pytest.mark.django_db

KERNEL = digests(Role.KERNEL)


def asked(client: Client, text: str) -> str:
    """Where a search leads; "" when it stays on its own page."""
    response = client.get("/search/", {"q": text})
    assert response.status_code in {200, 302}
    return response["Location"] if response.status_code == 302 else ""


def shown(client: Client, text: str) -> str:
    return page(client, f"/search/?q={quote(text)}")


def one_typed(value: str, at: int) -> str:
    return value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]


def test_everything_that_is_known_once_is_gone_to_directly(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    rebuild = make_rebuild(release)
    statement, key = StoredStatement.objects.get(), RebuilderKey.objects.get()
    for text in ("v1.0.0", "enclave v1.0.0", "refs/tags/v1.0.0", release.commit, release.commit[:6], "e" * 64):
        assert asked(client, text) == release.get_absolute_url()
    assert asked(client, str(rebuild.pk)) == rebuild.get_absolute_url()
    assert asked(client, rebuild.pk.hex) == rebuild.get_absolute_url()
    assert asked(client, "enclave") == "/projects/enclave/"
    assert asked(client, statement.payload_sha256) == statement.get_absolute_url()
    assert asked(client, key.fingerprint) == key.rebuilder.operator.get_absolute_url()


@pytest.mark.parametrize("form", ["{}", "0x{}", " {} ", "sha384:{}", "{}\n"])
def test_a_measurement_is_found_however_it_was_copied(
    client: Client, make_release: Callable[..., Release], form: str
) -> None:
    make_release()
    for text in (form.format(MEASUREMENT), form.format(MEASUREMENT[:48] + "\n" + MEASUREMENT[48:])):
        assert asked(client, text) == f"/measurements/{MEASUREMENT}/"
    assert asked(client, MEASUREMENT.upper()) == f"/measurements/{MEASUREMENT}/"


def test_a_digest_is_found_in_every_place_where_it_can_stand(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    rebuild = make_rebuild(release)
    a, b, c, d, e = (hashlib.sha256(name.encode()).hexdigest() for name in "abcde")
    a384 = hashlib.sha384(b"a").hexdigest()
    release.components.filter(role=Role.DISK).update(container_size=1, container_sha256=a, container_sha384=a384)
    release.components.filter(role=Role.OVMF).update(claimed_digest=f"sha256:{b}")
    RebuiltFile(
        rebuild=rebuild, role="initrd", path="etc/x", size=1, sha256=c, origin_kind=OriginKind.BUILT, origin="here"
    ).save()
    EmbeddedFile(release=release, container="x.tar.gz", path="y", size=1, sha256=d, sha384=a384, is_elf=True).save()
    Material.objects.create(sha256=e, name="dash", authenticity="signed")
    for value in (a, b, c, d, e, str(KERNEL["sha256"])):
        address = asked(client, value)
        assert address == f"/components/sha256:{value}/"
        assert client.get(address).status_code == 200
    assert asked(client, a384) == f"/components/sha384:{a384}/"
    assert asked(client, str(KERNEL["sha384"])) == f"/components/sha384:{KERNEL['sha384']}/"


def test_bundles_and_signed_verdicts_lead_to_their_release(
    client: Client, release: Release, domain: TrustDomain
) -> None:
    found_for(release, Role.KATANA, domain.attest({"katana": digest_of(Role.KATANA)}, WORKFLOW))
    assert asked(client, BundleRecord.objects.get().sha256) == release.get_absolute_url()
    verdicts.record_verdict(release.pk)
    record = VerdictRecord.objects.get()
    assert asked(client, str(record.payload_sha256)) == f"{release.get_absolute_url()}#history"


def test_several_things_are_listed_by_what_they_are(client: Client, make_release: Callable[..., Release]) -> None:
    make_release("v1.0.0")
    make_release("v1.0.1")
    Project.objects.create(name="cccccc", source_url="file:///other")
    text = shown(client, "cccccc")
    assert "Project: 1" in text
    assert "Release: 2" in text
    assert "its commit cccccccccccccccccccccccccccccccccccccccc begins so" in text


def test_a_typing_error_names_the_known_digest_and_the_place(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    sha256 = str(KERNEL["sha256"])
    for at in (0, 31, 63):
        text = shown(client, one_typed(sha256, at))
        assert f"differs in one character, number {at + 1}" in text
        body = client.get("/search/", {"q": one_typed(sha256, at)}).content.decode()
        assert f"{sha256[:at]}<mark>{sha256[at]}</mark>{sha256[at + 1 :]}" in body
    swapped = next(at for at in range(20, 40) if sha256[at] != sha256[at + 1])
    wrong = sha256[:swapped] + sha256[swapped + 1] + sha256[swapped] + sha256[swapped + 2 :]
    assert f"has characters {swapped + 1} and {swapped + 2} the other way round" in shown(client, wrong)


def test_a_commit_with_a_typing_error_is_a_near_miss(client: Client, make_release: Callable[..., Release]) -> None:
    make_release()
    text = shown(client, "c" * 20 + "d" + "c" * 19)
    assert "enclave v1.0.0 differs in one character, number 21; among commits of releases" in text


def test_a_cut_digest_is_told_to_be_cut_and_is_never_taken_for_a_match(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    whole = hashlib.sha384(b"whole").hexdigest()
    Measurement.objects.update(published=whole)
    for cut, words in ((whole[:95], "begins with what was pasted"), (whole[10:], "ends with what was pasted")):
        assert asked(client, cut) == ""
        text = shown(client, cut)
        assert f"{len(cut)} hexadecimal characters, which no digest has" in text
        assert words in text


def test_an_unknown_measurement_is_no_mismatch_and_says_what_was_searched(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    text = shown(client, "a" * 96)
    assert "not among the configurations known here" in text
    assert "That is not a mismatch" in text
    assert "launch measurements, published and recomputed 1" in text
    assert "published components, by the digests of file, container and manifest entry 5" in text
    assert "attestation bundles 0" in text
    assert "no known digest begins or ends like it" in text


@pytest.mark.parametrize("text", ["V1.0.0", "1.0.0", "v1.0", "V1"])
def test_a_tag_written_in_another_way_is_a_near_miss(
    client: Client, make_release: Callable[..., Release], text: str
) -> None:
    make_release("v1.0.0")
    assert asked(client, text) == ""
    assert "enclave v1.0.0" in shown(client, text)


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "\u202egnp.exe", "' OR 1=1 --", "x" * 10_000, "a" * 401, str(uuid.uuid4()), "%"],
)
def test_hostile_and_senseless_text_is_answered_in_words(
    client: Client, make_release: Callable[..., Release], text: str
) -> None:
    make_release()
    response = client.get("/search/", {"q": text})
    assert response.status_code == 200
    body = response.content.decode()
    assert "<script>alert" not in body
    assert "\u202e" not in body
    assert len(body) < 20_000


def test_nothing_pasted_asks_for_something(client: Client) -> None:
    assert "Nothing was pasted yet" in page(client, "/search/")


def test_a_search_costs_the_same_however_much_is_known(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    def cost(text: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get("/search/", {"q": text})
        return len(queries)

    texts = ("v1", "a" * 64, "a" * 96, "cccccc", "zzz", str(uuid.uuid4()), MEASUREMENT[:40])
    make_rebuild(make_release("v0"))
    before = [cost(text) for text in texts]
    for number in range(10):
        make_rebuild(make_release(f"w{number}"))
    assert [cost(text) for text in texts] == before
    assert max(before) <= 12


def test_every_look_up_of_a_digest_has_an_index(client: Client, make_release: Callable[..., Release]) -> None:
    """SQLite says how it would search; nothing that digests stand in may be read from end to end."""
    if connection.vendor != "sqlite":
        pytest.skip("the plan is SQLite's")
    make_release()
    with CaptureQueriesContext(connection) as queries:
        client.get("/search/", {"q": one_typed(str(Measurement.objects.get().published), 5)})
    union = next(entry["sql"] for entry in queries if "SUBSTR" in entry["sql"])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {union}")
        plan = [row[3] for row in cursor.fetchall()]
    # One row is enough to tell that nothing is scanned: plans are made before rows are looked at.
    assert not [step for step in plan if re.match(r"SCAN (?!LIST)(?:U0|builds_)", step)]
