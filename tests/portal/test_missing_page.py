"""What a release lacks, as its publisher is told; and the command that accepts an opaque input."""

from __future__ import annotations

import html
from collections.abc import Callable
from io import StringIO

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from attestations.models import ExpectedPublisher, Inquiry
from builds.domain import verdict
from builds.domain.conditions import Condition, ConditionState, conditions_of
from builds.domain.roles import Role
from builds.models import AcceptedOpaqueInput, EmbeddedFile, Project, Rebuild, Release, ReleaseEvent
from builds.services.release_events import CHANGED_SINCE_IMPORT
from tee_portal.env import Environment

pytestmark = pytest.mark.django_db


def test_lines_to_paste_name_the_portal_as_the_public_knows_it(
    client: Client, make_release: Callable[..., Release], settings: LazySettings
) -> None:
    settings.ENVIRONMENT = Environment(public_url="https://portal.example.org")
    release = make_release()
    for address in (release.get_absolute_url(), "/projects/enclave/missing/"):
        told = client.get(address, headers={"host": "localhost:1337"}).text
        assert "--portal https://portal.example.org" in told
        assert "localhost:1337" not in told


ADDRESS = "/projects/enclave/missing/"


def page(client: Client, query: str = "") -> str:
    answer = client.get(ADDRESS + query)
    assert answer.status_code == 200
    return html.unescape(answer.text)


def test_the_newest_release_is_shown_and_any_other_can_be_chosen(
    client: Client, make_release: Callable[..., Release]
) -> None:
    for tag in ("v1", "v2"):
        make_release(tag=tag)
    assert '<input id="tag" name="tag" list="tags" value="v2"' in page(client)
    shown = page(client, "?tag=v1")
    assert '<input id="tag" name="tag" list="tags" value="v1"' in shown
    assert "tee-portal-rebuilder rebuild v1 --portal http://testserver --project enclave" in shown


def test_what_is_unmet_is_told_with_who_mends_it_and_what_is_met_with_how_it_stays_so(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    for name in ("ada", "ben"):
        make_rebuild(release, by=name)
    shown = page(client)
    assert "1 of 6 conditions is not met" in shown
    assert "For the portal administrator" in shown
    assert "say on the administration page whom this project expects" in shown
    assert "Keep every material pinned" in shown


def test_a_release_without_attestations_gets_the_step_for_its_own_files(
    client: Client, publisher: ExpectedPublisher, release: Release
) -> None:
    for role in Role:
        Inquiry(release=release, role=role, digest="sha256:" + "a" * 64, source="GitHub", found=0).save()
    shown = page(client, f"?tag={release.tag}")
    assert "actions/attest-build-provenance@" in shown
    assert "output/kernel.img" in shown
    assert "id-token: write" in shown


def test_when_nothing_is_missing_it_says_so_and_what_to_keep_doing(
    client: Client, make_release: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_release()
    monkeypatch.setattr(
        verdict,
        "conditions_of",
        lambda seen: tuple(Condition(entry.key, ConditionState.MET, "It holds.") for entry in conditions_of(seen)),
    )
    shown = page(client)
    assert "Nothing is missing: every condition is met." in shown
    assert "Keep the attestation step in the workflow" in shown
    assert "For the publisher" not in shown


def test_contradicting_results_are_named_by_their_rebuilds(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    release = make_release()
    good, bad = make_rebuild(release, by="ada"), make_rebuild(release, by="ben", changed=(Role.INITRD,))
    shown = page(client)
    assert f"set_aside {bad.pk}" in shown
    assert str(good.pk) not in shown


def test_a_change_since_the_import_gets_the_line_that_explains_it(
    client: Client, make_release: Callable[..., Release]
) -> None:
    detail = {"what": "asset <b>vmlinuz</b> is gone", "where": "GitHub", "todo": "Ask."}
    ReleaseEvent(release=make_release(), kind=CHANGED_SINCE_IMPORT, detail=detail).save()
    assert "explain_changes v1.0.0 --project enclave" in page(client)
    assert "<b>vmlinuz" not in client.get(ADDRESS).text


def test_strangers_names_cannot_leave_their_places(client: Client, make_release: Callable[..., Release]) -> None:
    release = make_release()
    release.components.update(file_name="x'; <script>alert(1)</script>\u202e" + "y" * 200)
    for number in range(40):
        EmbeddedFile(
            release=release,
            container="tar",
            path=f"<i>{number}\u202e$(id)" + "z" * 5_000,
            size=1,
            sha256=f"{number:064x}",
            sha384=f"{number:096x}",
            is_elf=True,
        ).save()
    answer = client.get(ADDRESS).text
    assert "<script>alert" not in answer
    assert "<i>" not in answer
    assert "\u202e" not in answer


def test_a_project_without_releases_says_what_to_do_and_an_unknown_one_is_named(
    client: Client, project: Project
) -> None:
    assert "import_release DIRECTORY --project enclave" in page(client)
    missing = client.get("/projects/nobody/missing/")
    assert missing.status_code == 404
    assert "There is no such project here" in missing.text
    assert client.get(f"{ADDRESS}?tag=v9").status_code == 404


def test_queries_do_not_grow_with_what_is_missing(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            page(client)
        return len(queries)

    release = make_release()
    make_rebuild(release, by="ada")
    make_rebuild(release, by="ben", changed=(Role.KERNEL,))
    one = count()
    for name in ("cleo", "dora"):
        make_rebuild(release, by=name, changed=(Role.KERNEL,))
    assert count() == one


def accept(*arguments: str) -> str:
    out = StringIO()
    call_command("accept_opaque", *arguments, stdout=out)
    return out.getvalue()


def test_an_opaque_input_is_accepted_by_its_digest_with_a_reason(make_release: Callable[..., Release]) -> None:
    release = make_release()
    before = release.evidence_changed_at
    assert "accepts sha256:" in accept("A" * 64, "--project", "enclave", "--reason", "microcode, signed by AMD")
    assert AcceptedOpaqueInput.objects.get().reason == "microcode, signed by AMD"
    release.refresh_from_db()
    assert release.evidence_changed_at > before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a" * 63, "--reason", "why"], "malformed-input"),
        (["a" * 64, "--reason", " "], "reason-missing"),
        (["b" * 64, "--reason", "why"], "accepted-before"),
        (["a" * 64, "--reason", "why", "--project", "nobody"], "project-not-named"),
    ],
)
def test_what_cannot_be_accepted_is_named(project: Project, arguments: list[str], code: str) -> None:
    accept("b" * 64, "--reason", "the first one")
    with pytest.raises(CommandError, match=code):
        accept(*arguments)
    assert AcceptedOpaqueInput.objects.get().reason == "the first one"
