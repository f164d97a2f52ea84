"""Pages and API say the same, escape what is hostile, and cost a constant number of queries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from attestations.services import release_list
from builds.domain.roles import Role
from builds.models import Rebuild, Release
from builds.services import pages, queueing, rebuilding, running
from tests.support.logs import keep_log

pytestmark = pytest.mark.django_db


def page(client: Client, address: str) -> str:
    """The text of a page: tags dropped, white space folded."""
    response = client.get(address)
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_the_empty_portal_says_what_to_do(client: Client) -> None:
    assert "No release has been imported yet" in page(client, "/")


def test_a_reproduced_release_reads_reproduced_and_still_denies_with_reasons(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release)
    text = page(client, release.get_absolute_url())
    assert "1 of 1 independent operators (2 needed) rebuilt katana, initrd, firmware and disk from commit" in text
    assert "Kernel is the same input, copied as it is and not built." in text
    assert "Deny: attestations are not checked; 1 of 2 rebuilt." in text
    assert "same input" in text
    assert "covered inside the initrd as bin/katana" in text
    api = client.get("/api/v1/releases/enclave/v1.0.0").json()
    assert api["verdict"]["sentence"] in text
    assert api["verdict"]["decision"] == "deny"
    assert {row["role"]: row["comparison"]["outcome"] for row in api["components"]} == dict.fromkeys(Role, "reproduced")
    assert api["measurements"][0]["state"] == "matches"


def test_a_replaced_initrd_is_mismatched_there_and_in_the_measurement_only(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    rebuild = make_rebuild(release, changed=(Role.INITRD,))
    api = client.get("/api/v1/releases/enclave/v1.0.0").json()
    outcomes = {row["role"]: row["comparison"]["outcome"] for row in api["components"]}
    assert [role for role, outcome in outcomes.items() if outcome != "reproduced"] == ["initrd"]
    assert api["measurements"][0]["state"] == "differs"
    text = page(client, release.get_absolute_url())
    assert "initrd mismatched" in text
    assert "covered inside the initrd" not in text
    assert "No rebuild has shown that the covered initrd holds the katana binary." in text
    assert "rebuilt with other bytes" in page(client, rebuild.get_absolute_url())
    assert client.get(f"/api/v1/rebuilds/{rebuild.pk}").json()["outcome"] == "mismatched"


def test_a_base_image_from_a_registry_is_an_opaque_input(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release)
    Release.objects.update(needs_registry=True, base_image=f"rust:1@sha256:{'a' * 64}")
    api = client.get("/api/v1/releases/enclave/v1.0.0").json()
    assert [entry["place"] for entry in api["opaque_inputs"]] == ["base image"]
    assert f"Rebuilt around a binary taken as is: base image (sha256:{'a' * 64}" in api["verdict"]["sentence"]
    assert "an opaque input is not accepted" in api["verdict"]["sentence"]


def test_a_rebuild_that_had_the_network_is_listed_and_gives_no_evidence(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    rebuild = make_rebuild(release)
    Rebuild.objects.filter(pk=rebuild.pk).update(used_network=True)
    api = client.get("/api/v1/releases/enclave/v1.0.0").json()
    assert api["verdict"]["outcome"] is None
    assert {row["comparison"] for row in api["components"]} == {None}
    assert api["measurements"][0]["state"] == "unknown"
    assert [entry["id"] for entry in api["rebuilds"]] == [str(rebuild.pk)]
    assert "this rebuild does not count" in page(client, rebuild.get_absolute_url())


def test_a_component_the_rebuild_did_not_make_is_missing(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    Release.objects.filter(pk=release.pk).update(recipe_roles=["initrd", "katana", "kernel", "ovmf"])
    rebuild = make_rebuild(release, missing=(Role.DISK,))
    assert client.get(f"/api/v1/rebuilds/{rebuild.pk}").json()["outcome"] == "missing"


def test_a_contradiction_is_shown_before_anything_is_rebuilt(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release(contradiction="kernel: vmlinuz hashes to something else.")
    assert "contradicts its manifest" in page(client, "/")
    text = page(client, "/releases/enclave/v1.0.0/")
    assert "The published files contradict their own manifest. kernel: vmlinuz" in text
    assert "not rebuilt yet" in text


def test_a_failed_rebuild_is_no_evidence_and_says_what_to_do(
    client: Client, make_release: Callable[..., Release]
) -> None:
    rebuild = queueing.request_rebuild(make_release(), running.local_rebuilder())
    claim = rebuilding.claim(rebuild.pk, running.local_rebuilder(), "w")
    assert claim is not None
    failure = queueing.RebuildAlreadyLive("libc6 2.39 is gone", where="stage materials", todo="Find the file.")
    rebuilding.finish(claim, rebuilding.RunState.FAILED, failure=failure)
    text = page(client, rebuild.get_absolute_url())
    assert "No evidence either way: the rebuild failed. This is not a mismatch." in text
    assert "libc6 2.39 is gone ( stage materials ). What to do: Find the file." in text
    api = client.get(f"/api/v1/rebuilds/{rebuild.pk}").json()
    assert api["outcome"] is None
    assert api["failure"]["todo"] == "Find the file."


def test_a_hostile_log_is_shown_as_text(client: Client, make_release: Callable[..., Release]) -> None:
    rebuild = queueing.request_rebuild(make_release(), running.local_rebuilder())
    keep_log(rebuild, ["<script>alert(1)</script>\n"])
    content = client.get(rebuild.get_absolute_url()).content.decode()
    assert "<script>alert" not in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content
    plain = client.get(f"/rebuilds/{rebuild.pk}/log")
    assert plain["Content-Type"] == "text/plain; charset=utf-8"
    assert plain["X-Content-Type-Options"] == "nosniff"
    assert b"".join(plain) == b"<script>alert(1)</script>\n"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tag", ["tee-vm-v0.1.0+katana-v1.7.0", "a/b+c", "tee/vm-v1.2.3+katana-v1.7", "v1/rebuild", "a+b/c+d/rebuild"]
)
def test_a_tag_with_slashes_and_plus_round_trips(
    client: Client, make_release: Callable[..., Release], tag: str
) -> None:
    release = make_release(tag=tag)
    make_release(tag=tag.replace("+", " ").partition(" ")[0].partition("/")[0] + "-other")
    address = release.get_absolute_url()
    for spelling in (address, address.replace("+", "%2B"), quote(address, safe="/")):
        assert page(client, spelling).startswith(f"enclave {tag} · TEE Portal")
    assert f'href="{address}"' in client.get("/").content.decode()
    for spelling in (tag, quote(tag, safe="/"), quote(tag, safe="")):
        assert client.get(f"/api/v1/releases/enclave/{spelling}").json()["tag"] == tag

    client.force_login(User.objects.create_user("admin", is_staff=True))
    link = re.search(r'<a class="button" href="([^"]+/rebuild)"', client.get(address).content.decode())
    assert link is not None
    assert "<h1>Rebuild enclave" in client.get(link[1]).content.decode()
    queued = client.post(link[1])
    rebuild = Rebuild.objects.get()
    assert rebuild.release == release
    assert queued["Location"] == rebuild.get_absolute_url()
    assert f'href="{address}"' in client.get(rebuild.get_absolute_url()).content.decode()
    assert client.get(f"/api/v1/rebuilds/{rebuild.pk}").json()["tag"] == tag
    # A second request while one is live joins it, by the same address.
    assert client.post(link[1])["Location"] == rebuild.get_absolute_url()


def test_no_page_or_answer_may_run_foreign_script(client: Client, make_release: Callable[..., Release]) -> None:
    for address in ("/", make_release().get_absolute_url()):
        response = client.get(address)
        policy = response["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        body = response.content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", body)


def test_the_cost_of_a_page_does_not_grow_with_releases_and_rebuilds(
    client: Client,
    make_release: Callable[..., Release],
    make_rebuild: Callable[..., Rebuild],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(12):
        release = make_release(tag=f"v{number}")
        for _ in range(3):
            make_rebuild(release)
    with django_assert_max_num_queries(19):
        assert "v11" in page(client, "/")
    with django_assert_max_num_queries(19):
        page(client, "/releases/enclave/v3/")
    with django_assert_max_num_queries(19):
        assert len(client.get("/api/v1/releases").json()["releases"]) == 12


def test_lists_are_bounded_and_paged(client: Client, make_release: Callable[..., Release]) -> None:
    for number in range(30):
        make_release(tag=f"v{number}")
    first = client.get("/api/v1/releases?limit=20").json()
    second = client.get(f"/api/v1/releases?limit=20&before={first['next']}").json()
    assert (len(first["releases"]), len(second["releases"]), second["next"]) == (20, 10, None)
    assert client.get("/api/v1/releases?limit=1000").status_code == 422
    assert "Older releases" in page(client, "/releases/")
    assert client.get("/releases/?before=x").status_code == 404


def test_what_does_not_exist_is_a_named_404(client: Client) -> None:
    missing = client.get("/releases/enclave/v9/")
    assert missing.status_code == 404
    assert "All releases" in missing.content.decode()
    answer = client.get("/api/v1/releases/enclave/v9")
    assert answer.status_code == 404
    assert json.loads(answer.content)["code"] == "not-found"
    assert client.get("/rebuilds/00000000-0000-0000-0000-000000000000/").status_code == 404
    nowhere = client.get("/api/v1/nothing-here")
    assert nowhere.status_code == 404
    assert nowhere.json()["where"] == "/api/v1/nothing-here"


def test_the_api_describes_itself_without_foreign_script(client: Client) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert "/api/v1/releases" in paths
    assert client.get("/api/v1/docs").status_code == 404


def test_staff_can_start_and_cancel_from_the_page(client: Client, make_release: Callable[..., Release]) -> None:
    release = make_release()
    start = f"{release.get_absolute_url()}rebuild"
    assert "Ask for a rebuild" in page(client, release.get_absolute_url())
    assert client.post(start)["Location"] == f"/signin/?next={start}"
    assert Rebuild.objects.count() == 0
    client.force_login(User.objects.create_user("admin", is_staff=True))
    client.post(start)
    rebuild = Rebuild.objects.get()
    client.post(f"/rebuilds/{rebuild.pk}/cancel")
    rebuild.refresh_from_db()
    assert rebuild.state == "cancelled"


def test_the_admin_pages_cannot_edit_evidence(client: Client, make_release: Callable[..., Release]) -> None:
    release = make_release()
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(f"/admin/builds/release/{release.pk}/change/").status_code == 200
    assert client.post(f"/admin/builds/release/{release.pk}/change/", {"commit": "0" * 40}).status_code == 403
    assert client.post(f"/admin/builds/release/{release.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("address", ["/api/v1/attestations?commit=%00", "/api/v1/releases/x/a%00b"])
def test_an_address_with_nul_is_a_named_error_on_every_database(client: Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed-address"


@pytest.mark.parametrize("address", ["/", "/api/v1/releases"])
def test_a_database_that_is_away_is_503_by_name_and_no_statement_about_a_release(
    client: Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("connection refused to 10.0.0.7")

    monkeypatch.setattr(pages, "release_page", away)
    monkeypatch.setattr(release_list, "release_list", away)
    answer = client.get(address)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert "nothing is said about any release" in answer.text
    assert "10.0.0.7" not in answer.text
