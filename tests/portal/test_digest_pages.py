"""A measurement and a digest each have one address that tells everywhere they were seen, and by whose word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher
from builds.domain.roles import Role
from builds.models import AcceptedOpaqueInput, Material, Measurement, Rebuild, Release, ResultSetAside
from tests.portal.attested import attest_all
from tests.portal.test_pages import page
from tests.support.operators import MEASUREMENT, digests, operator_named
from tests.support.statements import measured

pytestmark = pytest.mark.django_db

type MakeRebuild = Callable[..., Rebuild]

ADDRESS = f"/measurements/{MEASUREMENT}/"
OTHER = "b" * 96
KERNEL = str(digests(Role.KERNEL)["sha256"])


def test_a_measurement_tells_apart_who_gives_it(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    text = page(client, ADDRESS)
    assert "names this value; the published files give this one; no rebuild that counts gave one so far." in text
    make_rebuild(release, by="alder")
    text = page(client, ADDRESS)
    assert "The publisher names this value, and both the published and the rebuilt files give it." in text
    assert "Alder" in text
    for part in ("4 of type EPYC-v4", "0x1", "qemu", "console=ttyS0", "direct_kernel", "data disk : look at the host"):
        assert part in text
    assert "Deny: attestations are not checked; 1 of 2 rebuilt." in text
    assert "What a match does not prove" in text
    assert 'class="panel bad"' in client.get(ADDRESS).content.decode()


def test_only_what_everybody_agrees_on_and_is_allowed_looks_good(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release)
    Measurement.objects.update(published="a" * 96)
    said = "The publisher names another value; the published files give this one; rebuilt files give this one."
    assert said in page(client, ADDRESS)
    Measurement.objects.update(recomputed="c" * 96)
    text = page(client, ADDRESS)
    assert "names another value; the published files give another one; rebuilt files give this one." in text
    assert "another value" in text
    assert 'class="panel good"' not in client.get(ADDRESS).content.decode()


def test_a_result_that_does_not_count_speaks_for_nothing(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    operator_named("mallory", accepted=False)
    make_rebuild(release, by="mallory", measurements=[measured(OTHER)])
    text = page(client, f"/measurements/{OTHER}/")
    assert "Only results that do not count give this value. Nothing speaks for it." in text
    assert "The operator is pending" in text


def test_a_value_that_a_stranger_hands_in_borrows_nothing_from_a_release_that_is_allowed(
    client: Client, publisher: ExpectedPublisher, release: Release, make_rebuild: MakeRebuild, domain: TrustDomain
) -> None:
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    operator_named("mallory", accepted=False)
    make_rebuild(release, by="mallory", measurements=[measured(OTHER)])
    own, strange = (client.get(f"/measurements/{value}/").text for value in (MEASUREMENT, OTHER))
    assert 'class="panel good"' in own
    assert 'class="state good">allow' in own
    assert "Allow." in own
    assert "2 launch configurations known here give it" in own
    assert 'class="panel bad"' in strange
    assert "state good" not in strange.partition("<dl>")[0]
    assert "Allow." not in strange
    assert "No launch configuration known here gives it: only results that do not count name it" in strange
    assert "What is decided of the release is about another value than this one" in strange


def test_a_result_that_its_operator_replaced_or_that_was_set_aside_does_not_count(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release, by="alder", measurements=[measured(OTHER)])
    address = f"/measurements/{OTHER}/"
    assert "the published files give another one; rebuilt files give this one." in page(client, address)
    newest = make_rebuild(release, by="alder")
    assert "A newer result of the same operator replaced it." in page(client, address)
    ResultSetAside(rebuild=newest, reason="a broken disk", by="Ada").save()
    assert "does not count" in page(client, ADDRESS)


def test_an_unknown_measurement_is_404_in_words_with_near_misses(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release()
    wrong = MEASUREMENT[:-1] + ("0" if MEASUREMENT[-1] != "0" else "1")
    response = client.get(f"/measurements/{wrong}/")
    assert response.status_code == 404
    body = response.content.decode()
    assert "not among the configurations known here; this is not a mismatch" in body
    assert "differs in one character, number 96" in body
    assert "What to do next" in body


@pytest.mark.parametrize("value", [MEASUREMENT.upper(), f"0x{MEASUREMENT}", f"sha384:{MEASUREMENT}"])
def test_other_spellings_of_a_measurement_lead_to_its_one_address(client: Client, value: str) -> None:
    response = client.get(f"/measurements/{value}/")
    assert (response.status_code, response["Location"]) == (301, ADDRESS)


@pytest.mark.parametrize("value", ["x", "a" * 95, "<b>", "\u202e", "v1.0.0", "a" * 64])
def test_what_is_no_measurement_says_so(client: Client, value: str) -> None:
    response = client.get(f"/measurements/{value}/")
    assert response.status_code == 404
    body = response.content.decode()
    assert "This is no launch measurement" in body
    assert "\u202e" not in body
    assert "<b>" not in body.replace("<bdi", "")


def test_a_digest_is_told_everywhere_it_was_seen(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    text = page(client, f"/components/sha256:{KERNEL}/")
    assert "enclave v1.0.0 kernel, kernel.img the component itself" in text
    assert "Alder" in text
    assert "Birch" in text
    assert "taken as is from package linux" in text
    assert f"sha384:{digests(Role.KERNEL)['sha384']}" in text
    katana = page(client, f"/components/sha256:{digests(Role.KATANA)['sha256']}/")
    assert "initrd: bin/katana built in this rebuild" in katana
    assert katana.endswith("Times are UTC where nothing else is said.")


def test_a_material_and_an_accepted_input_are_told_with_what_speaks_for_them(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    value = "a" * 64
    material = Material.objects.create(sha256=value, name="dash", version="0.5", authenticity="Nobody signed it.")
    release.materials.add(material)
    AcceptedOpaqueInput.objects.create(
        project=release.project, sha256=value, reason="<b>seen</b>", accepted_at=timezone.now()
    )
    body = client.get(f"/components/sha256:{value}/").content.decode()
    assert "Nobody signed it." in body
    assert release.get_absolute_url() in body
    assert "&lt;b&gt;seen&lt;/b&gt;" in body


def test_a_digest_that_only_the_manifest_names_contradicts_the_file(
    client: Client, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    release.components.filter(role=Role.KERNEL).update(claimed_digest=f"sha256:{'9' * 64}")
    text = page(client, f"/components/sha256:{'9' * 64}/")
    assert "contradicts the file what the manifest names for the content" in text


def test_unknown_and_impossible_digests_are_404_in_words(client: Client, make_release: Callable[..., Release]) -> None:
    make_release()
    unknown = client.get(f"/components/sha256:{KERNEL[:-1]}{'0' if KERNEL[-1] != '0' else '1'}/")
    assert unknown.status_code == 404
    assert "This digest is not known here" in unknown.content.decode()
    assert "differs in one character, number 64" in unknown.content.decode()
    for address in ("sha256:xyz", "md5:" + "a" * 32, "sha384:" + "a" * 64, "sha256:<b>"):
        response = client.get(f"/components/{address}/")
        assert response.status_code == 404
        assert "This is no digest" in response.content.decode()
    assert client.get(f"/components/SHA256:{KERNEL.upper()}/")["Location"] == f"/components/sha256:{KERNEL}/"
    assert client.get(f"/components/sha512:{'a' * 128}/").status_code == 404


def test_the_pages_of_values_cost_the_same_with_one_place_and_with_many(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    def costs() -> list[int]:
        found = []
        for address in (ADDRESS, f"/components/sha256:{KERNEL}/"):
            client.get(address)
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address).status_code == 200
            found.append(len(queries))
        return found

    make_rebuild(make_release("v0"))
    before = costs()
    for number in range(1, 30):
        release = make_release(f"v{number}")
        make_rebuild(release, by=("alder", "birch")[number % 2])
    assert costs() == before
    assert max(before) <= 12
    assert "these are the newest" in page(client, ADDRESS)
