"""Importing releases of Katana's VM: a real source, real tarballs and measurements by sev-snp-measure itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.domain.errors import PortalError
from builds.domain.materials import lock_digest
from builds.models import AcceptedOpaqueInput, EmbeddedFile, Release
from builds.pipeline.published_release import TagNotGiven
from builds.services import submitting
from builds.services.evidence import view_of
from builds.services.importing import CommitMisstated, ReleaseChanged, import_release
from tests.support.operators import MATERIAL, portal_operator, result_of
from tests.support.statements import encoded, subject
from tests.support.vm_release import COMMAND_LINE, KATANA, SIDECAR, TAG, sha256
from tests.support.vm_world import EXAMPLE, World, conditions, expected

pytestmark = pytest.mark.django_db

ADDRESS = f"/releases/katana-tee-vm/{TAG}/"


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def test_the_published_measurement_recomputes_from_the_files_in_the_tarball(world: World) -> None:
    view = world.view()
    assert view.release.commit == world.repository.commit
    (row,) = view.measurements
    assert row.problem is None
    assert row.evidence.published == row.evidence.recomputed == world.release.measurement
    assert row.evidence.coverage == {"ovmf", "kernel", "initrd", "cmdline"}
    configuration = row.configuration
    assert (configuration.name, configuration.vcpus, configuration.vcpu_type) == ("sealed", 1, "EPYC-v4")
    assert (configuration.guest_features, configuration.command_line) == (1, COMMAND_LINE)
    assert "portal-maintained" in configuration.origin
    assert conditions(view)["files-match-manifest"][0] == "met"
    assert [str(component.role) for component in view.components] == ["katana", "kernel", "initrd", "ovmf"]
    document = next(world.directories[0].glob("build-info-*")).read_bytes()
    assert bytes(view.release.manifest) == document
    assert view.release.manifest_sha256 == sha256(document)


def test_a_measurement_of_anything_else_differs_and_is_unmet(world: World, firmware: Path) -> None:
    world.release.measurement = expected(firmware, world.root, vcpus=2)
    world.release.info["LAUNCH_MEASUREMENT"] = world.release.measurement
    view = world.view()
    assert view.measurements[0].evidence.state == "differs"
    assert conditions(view)["measurements-recompute"][0] == "unmet"


def test_a_tampered_member_contradicts_and_measures_differently(world: World) -> None:
    world.release.replace("initrd.img", b"other initrd\0")
    view = world.view()
    assert view.contradicts
    assert view.measurements[0].evidence.state == "differs"
    assert conditions(view)["files-match-manifest"][0] == "unmet"


def test_a_missing_member_leaves_the_measurement_unknown(world: World) -> None:
    world.release.members = [entry for entry in world.release.members if entry[0] != "vmlinuz"]
    view = world.view()
    assert view.measurements[0].evidence.state == "unknown"
    assert conditions(view)["files-match-manifest"] == ("unknown", "kernel: the tarball holds no kernel.")
    kernel = view.release.components.get(role="kernel")
    assert (kernel.size, kernel.sha256) == (None, "")
    assert kernel.container_sha256 != ""


def test_two_tarballs_leave_every_component_unknown_and_nothing_green(world: World) -> None:
    directory = world.publish()
    (directory / "katana-tee-vm-other.tar.gz").write_bytes(b"")
    release = import_release(world.project, directory, tag=TAG)
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    assert view.measurements[0].evidence.recomputed is None
    assert {row.problem["code"] for row in view.components if row.problem is not None} == {"ambiguous-assets"}
    assert all(state != "met" for state, _ in conditions(view).values())


def test_measurements_that_disagree_are_a_contradiction(world: World) -> None:
    world.release.info["LAUNCH_MEASUREMENT"] = "7" * 96
    view = world.view()
    assert "name different launch measurements" in conditions(view)["files-match-manifest"][1]


def test_without_the_uuid_the_command_line_is_unknown_and_not_empty(world: World, client: Client) -> None:
    del world.release.info["LUKS_UUID"]
    (row,) = world.view().measurements
    assert row.evidence.state == "unknown"
    assert row.evidence.recomputed is None
    assert row.configuration.command_line is None
    assert row.problem is not None
    assert (row.problem["code"], "LUKS_UUID" in row.problem["what"]) == ("command-line-unknown", True)
    assert "Command line: not known" in text_of(client, ADDRESS)
    assert client.get(f"/api/v1{ADDRESS.rstrip('/')}").json()["measurements"][0]["command_line"] is None


def test_page_and_api_show_who_wrote_the_recipe_and_what_was_taken_over(world: World, client: Client) -> None:
    view = world.view()
    text = text_of(client, ADDRESS)
    digest = sha256(EXAMPLE.read_bytes())
    assert f"portal-maintained sha256:{digest} copy by Ada ; the source tree has none" in text
    assert "taken over from tee-vm-v0.0.9+katana-v1.6.0" in text
    assert "kernel package 6.8.0-90 not fetched" in text
    assert f"vmlinuz in katana-tee-vm-{TAG}.tar.gz" in text
    api = client.get(f"/api/v1/releases/katana-tee-vm/{TAG}").json()
    assert api["recipe"] == {"origin": "portal-maintained", "digest": f"sha256:{digest}", "author": "Ada"}
    assert api["document_name"] == f"build-info-{TAG}.txt"
    assert api["reused"] == [{"key": "OVMF_REUSED_FROM", "role": "ovmf", "origin": "tee-vm-v0.0.9+katana-v1.6.0"}]
    reused = {row["role"]: row["reused_from"] for row in api["components"]}
    assert reused == {"katana": None, "kernel": None, "initrd": None, "ovmf": "tee-vm-v0.0.9+katana-v1.6.0"}
    assert [(row["name"], row["version"], row["size"], row["digest"]) for row in api["materials"]] == [
        ("busybox package", "1:1.36.1-6ubuntu3.1", None, "sha256:" + "2" * 64),
        ("kernel package", "6.8.0-90", None, "sha256:" + "1" * 64),
    ]
    assert view.release.materials_stored_at is None


def test_materials_that_nobody_can_fetch_are_an_event_that_names_them(world: World) -> None:
    (notice,) = world.view().notices
    assert notice.kind == "materials-failed"
    assert "kernel package 6.8.0-90 (sha256:1111" in notice.sentence
    assert "busybox package 1:1.36.1-6ubuntu3.1 (sha256:2222" in notice.sentence


def rebuilt(release: Release, *, katana_origin: str = "built", sidecar_origin: str | None = None) -> None:
    """A signed rebuild with the published bytes, as if the recipe had stages."""
    Release.objects.filter(pk=release.pk).update(lock_sha256=lock_digest([MATERIAL]))
    subjects = [
        subject(row.role, row.size, row.sha256, row.sha384, katana_origin if row.role == "katana" else "built")
        for row in release.components.all()
    ]
    sidecar = {"role": "initrd", "path": "bin/settlement", "size": len(SIDECAR), "sha256": sha256(SIDECAR)}
    files = [{**sidecar, "originKind": sidecar_origin, "origin": "test"}] if sidecar_origin is not None else []
    signer = portal_operator()
    document = result_of(release, signer.public.name, subjects=subjects, files=files, epoch=release.commit_time)
    submitting.accept(signer.sign(IN_TOTO_PAYLOAD, encoded(document)).as_bytes())


def test_embedded_programs_are_opaque_before_any_rebuild(world: World, client: Client) -> None:
    view = world.view()
    assert {(file.path, file.sha256, file.is_elf) for file in EmbeddedFile.objects.all()} == {
        ("katana", sha256(KATANA), True),
        ("settlement", sha256(SIDECAR), True),
    }
    state, sentence = conditions(view)["opaque-inputs-accepted"]
    assert state == "unmet"
    assert sha256(KATANA) in sentence
    assert sha256(SIDECAR) in sentence
    assert "Nobody has rebuilt these from source" in text_of(client, ADDRESS)
    api = client.get(f"/api/v1/releases/katana-tee-vm/{TAG}").json()
    assert [entry["place"] for entry in api["opaque_inputs"]] == [
        f"katana-tee-vm-{TAG}.tar.gz: katana",
        f"katana-tee-vm-{TAG}.tar.gz: settlement",
    ]
    assert [(file["path"], file["size"]) for file in api["embedded_files"]] == [
        ("katana", len(KATANA)),
        ("settlement", len(SIDECAR)),
    ]


def test_accepting_every_digest_without_a_rebuild_is_not_yet_green(world: World) -> None:
    for data in (KATANA, SIDECAR):
        AcceptedOpaqueInput.objects.create(project=world.project, sha256=sha256(data), reason="looked at")
    assert conditions(world.view())["opaque-inputs-accepted"][0] == "unknown"


@pytest.mark.parametrize(
    ("origins", "opaque"),
    [
        ({}, {"settlement"}),
        ({"katana_origin": "opaque"}, {"katana", "settlement"}),
        ({"sidecar_origin": "opaque"}, {"settlement"}),
        ({"sidecar_origin": "built"}, set()),
    ],
)
def test_a_rebuild_clears_only_what_it_made(world: World, origins: dict[str, str], opaque: set[str]) -> None:
    release = world.imported()
    rebuilt(release, **origins)
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    places = {entry.place.rpartition(": ")[2] for entry in view.opaque if entry.place.startswith("katana-tee-vm-")}
    assert places == opaque
    assert conditions(view)["opaque-inputs-accepted"][0] == ("unmet" if opaque else "met")


def test_importing_again_changes_nothing_and_other_words_or_another_commit_are_refused(world: World) -> None:
    first = world.imported()
    assert world.imported().pk == first.pk
    assert first.events.filter(kind="imported").count() == 1
    with pytest.raises(CommitMisstated):
        world.imported(commit="0" * 40)
    assert not first.events.filter(kind="changed-since-import").exists()
    world.release.info["KATANA_VERSION"] = "v1.7.1"
    with pytest.raises(ReleaseChanged):
        world.imported()
    with pytest.raises(ReleaseChanged) as changed:
        world.imported(commit="0" * 40)
    assert "0" * 40 not in changed.value.what
    assert first.events.filter(kind="changed-since-import").count() == 2


def test_a_program_that_was_swapped_after_the_import_is_an_error_although_the_documents_stayed(world: World) -> None:
    first = world.imported()
    world.release.replace("settlement", b"\x7fELF another sidecar")
    with pytest.raises(ReleaseChanged, match=r"files of .* are others"):
        world.imported()
    assert first.events.get(kind="changed-since-import").detail["code"] == "release-changed"


def test_a_commit_that_the_tag_does_not_name_keeps_the_source_away(world: World) -> None:
    view = world.view(commit="0" * 40)
    assert view.release.commit == "0" * 40
    kinds = {notice.kind: notice.sentence for notice in view.notices}
    assert "has no commit 0000" in kinds["materials-failed"]
    assert conditions(view)["measurements-recompute"][0] == "unknown"


def test_another_time_than_the_commits_is_a_contradiction(world: World) -> None:
    world.release.info["SOURCE_DATE_EPOCH"] = "1700000001"
    assert "SOURCE_DATE_EPOCH in build-info" in conditions(world.view())["files-match-manifest"][1]


def test_nothing_is_imported_without_a_tag_or_a_source_to_ask(world: World) -> None:
    with pytest.raises(TagNotGiven):
        import_release(world.project, world.publish())
    world.project.source_url = "file:///nowhere"
    with pytest.raises(PortalError, match="git could not list tags"):
        world.imported()
    assert not Release.objects.exists()


def test_the_page_costs_no_more_for_more_embedded_files(
    world: World, client: Client, django_assert_max_num_queries: Callable[..., object]
) -> None:
    world.release.members += [(f"bin/{number}", b"\x7fELF\0" + bytes([number])) for number in range(50)]
    world.imported()
    with django_assert_max_num_queries(17):
        assert "bin/49" in text_of(client, ADDRESS)
