"""The first page, what changed of late, and how a project's versions stand beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from attestations.local_sigstore import TrustDomain
from attestations.models import ExpectedPublisher, VerdictRecord
from attestations.services import strip, verdicts
from builds.domain.roles import Role
from builds.models import AcceptedOpaqueInput, Affiliation, Operator, Project, Rebuild, Release
from builds.services.release_events import evidence_changed
from tests.portal.attested import attest_all
from tests.portal.test_pages import page
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db


def recorded(release: Release) -> None:
    """Its verdict is on record, and nothing has changed since."""
    verdicts.record_verdict(release.pk)
    Release.objects.filter(pk=release.pk).update(judged_at=timezone.now() + timedelta(seconds=1))


def words(release: Release) -> list[tuple[str, str, str]]:
    found = strip.strips_of([release.project_id])[release.project_id]
    return [(cell.tag, cell.word, cell.worse) for cell in found.cells]


def test_the_home_page_begins_with_the_search_and_the_empty_portal_says_what_to_do(client: Client) -> None:
    body = client.get("/").content.decode()
    assert body.index('name="q"') < body.index("Latest releases")
    assert body.count('role="search"') == 1
    text = page(client, "/")
    assert "No release has been imported yet" in text
    assert "Nothing changed: no verdict, no new release, no new operator." in text


def test_other_pages_have_the_search_in_their_header(client: Client) -> None:
    assert client.get("/releases/").content.decode().count('action="/search/"') == 1
    assert client.get("/search/").content.decode().count('action="/search/"') == 1


def test_what_changed_is_told_newest_first_and_only_of_late(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    verdicts.record_verdict(release.pk)
    make_rebuild(release, by="alder")
    verdicts.record_verdict(release.pk)
    text = page(client, "/")
    assert "release enclave v1.0.0 imported" in text
    assert "operator Alder joined as a rebuilder" in text
    assert "deny first verdict" in text
    changed = "rebuilt files reproduced, was not known; launch measurement matches, was unknown"
    assert text.index(changed) < text.index("first verdict")
    old = timezone.now() - timedelta(days=8)
    VerdictRecord.objects.update(at=old)
    Release.objects.update(imported_at=old)
    Operator.objects.exclude(accepted_at=None).update(accepted_at=old)
    assert "Nothing changed" in page(client, "/")


def test_another_count_or_policy_is_no_news(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release, by="alder")
    verdicts.record_verdict(release.pk)
    make_rebuild(release, by="birch")
    assert verdicts.record_verdict(release.pk) is not None
    assert page(client, "/").count("first verdict") == 1
    assert len(re.findall(r"verdict enclave", page(client, "/"))) == 1


def test_the_log_is_bounded(client: Client, make_release: Callable[..., Release]) -> None:
    for number in range(40):
        make_release(f"v{number}")
    assert len(re.findall(r"<li><span class=\"moment\">", client.get("/").content.decode())) == 30


def test_the_strip_shows_each_version_once_the_newest_commit_last(
    client: Client, make_release: Callable[..., Release]
) -> None:
    for tag, epoch in (("v2", 200), ("v1", 100), ("v3", 300)):
        release = make_release(tag)
        Release.objects.filter(pk=release.pk).update(source_date_epoch=epoch)
        recorded(release)
    assert words(release) == [("v1", "deny", ""), ("v2", "deny", ""), ("v3", "deny", "")]
    for address in ("/projects/enclave/", "/releases/?project=enclave", "/"):
        body = client.get(address).content.decode()
        cells = re.findall(r'<li><a href="/releases/enclave/(v\d)/"', body)
        assert cells == ["v1", "v2", "v3"]
        assert "at least one does not, or is not known; that alone is no attack" in body


def test_what_is_worse_than_the_version_before_is_said_in_words(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    for tag, changed in (("v1", ()), ("v2", (Role.INITRD,)), ("v3", (Role.INITRD,)), ("v4", ())):
        release = make_release(tag)
        make_rebuild(release, changed=changed)
        recorded(release)
    new = make_release("v5")
    recorded(new)
    assert [bool(worse) for _, _, worse in words(new)] == [False, True, False, False, False]
    text = page(client, "/projects/enclave/")
    assert "worse v2 : Its files are mismatched, those of v1 were reproduced" in text


def test_a_release_that_is_not_reproduced_any_more_is_marked(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    make_rebuild(release, by="alder")
    recorded(release)
    make_rebuild(release, by="alder", changed=(Role.KERNEL,))
    recorded(release)
    assert "It was reproduced once and is not any more." in page(client, "/projects/enclave/")


def test_a_version_whose_evidence_changed_shows_no_decision(
    release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain
) -> None:
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    recorded(release)
    assert words(release)[-1] == ("v1.0.0", "allow", "")
    Release.objects.filter(pk=release.pk).update(judged_at=timezone.now() - timedelta(seconds=1))
    evidence_changed(release)
    assert words(release)[-1] == ("v1.0.0", "being judged anew", "")


def test_a_record_that_nobody_compared_of_late_shows_no_decision(
    client: Client, release: Release, make_rebuild: Callable[..., Rebuild], domain: TrustDomain
) -> None:
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    recorded(release)
    # The policy changed and the worker stands still: nothing says that the evidence is another.
    Project.objects.update(needed_operators=3)
    Release.objects.update(
        evidence_changed_at=timezone.now() - timedelta(hours=3), judged_at=timezone.now() - timedelta(minutes=61)
    )
    assert words(release)[-1] == ("v1.0.0", "being judged anew", "")
    assert "v1.0.0/" in client.get("/releases/?decision=deny").content.decode()


def test_another_policy_leaves_no_record_that_the_strip_relies_on(
    admin_client: Client,
    publisher: ExpectedPublisher,
    release: Release,
    make_rebuild: Callable[..., Rebuild],
    domain: TrustDomain,
) -> None:
    attest_all(release, domain)
    make_rebuild(release, by="alder")
    make_rebuild(release, by="birch")
    inline = {f"accepted_opaque_inputs-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
    policy = {"name": "enclave", "source_url": "file:///nowhere", "needed_operators": "3", **inline}
    policy |= {"created_at_0": "2026-01-01", "created_at_1": "00:00:00"}
    expected = {
        "project": str(publisher.project_id),
        "repository": publisher.repository,
        "workflow": ".github/workflows/another.yml",
        "issuer": publisher.issuer,
        "trust_roots": '["local-demo-trust-root"]',
        "predicate_types": '["https://slsa.dev/provenance/v1"]',
    }
    for address, form in (
        (f"/admin/builds/project/{release.project_id}/change/", policy),
        (f"/admin/attestations/expectedpublisher/{publisher.pk}/change/", expected),
    ):
        verdicts.record_verdict(release.pk)
        before = timezone.now() - timedelta(seconds=1)
        Release.objects.update(judged_at=before, evidence_changed_at=before - timedelta(hours=1))
        assert words(release)[-1][1] != "being judged anew"
        answer = admin_client.post(address, form)
        assert answer.status_code == 302, re.findall(r"errorlist.*", answer.text)
        assert words(release)[-1][1] == "being judged anew"


def test_the_strip_is_bounded_and_says_where_the_rest_is(client: Client, make_release: Callable[..., Release]) -> None:
    for number in range(62):
        make_release(f"v{number}")
    body = client.get("/projects/enclave/").content.decode()
    assert body.count('<bdi class="tag"') == 60
    assert ">v1</bdi>" not in body
    assert 'only the newest 60 are shown, <a href="/releases/?project=enclave">' in body


def test_a_project_tells_whom_it_expects_and_its_policy(client: Client, publisher: ExpectedPublisher) -> None:
    project = publisher.project
    AcceptedOpaqueInput.objects.create(project=project, sha256="a" * 64, reason="<i>vendor firmware</i>")
    operator_named("alder")
    Affiliation.objects.create(
        operator=Operator.objects.get(slug="alder"), project=project, what="same company", stated_by="Ada"
    )
    text = page(client, "/projects/enclave/")
    assert "Source repository https://github.com/example/enclave" in text
    assert "Workflow .github/workflows/release-tee.yml" in text
    assert "when 2 independent operators reproduced every component" in text
    assert "a" * 64 in text
    assert "&lt;i&gt;vendor firmware&lt;/i&gt;" in text
    assert "Alder : same company" in text


def test_a_project_that_expects_nobody_says_what_follows(client: Client, project: Project) -> None:
    text = page(client, "/projects/enclave/")
    assert "No publisher is expected, so that no attestation can be verified" in text
    assert "No release of this project has been imported yet" in text
    assert "None: every input must be traced to its source." in text
    assert client.get("/projects/nobody/").status_code == 404


def test_a_publishers_unreadable_key_is_said(client: Client, publisher: ExpectedPublisher) -> None:
    key = "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----"
    ExpectedPublisher.objects.update(public_keys=key, repository="")
    text = page(client, "/projects/enclave/")
    assert "cannot be judged" in text
    assert "It does not say which" in text
