"""What an import stores when the published documents leave something open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from builds.domain.tags import ReservedTag
from builds.models import Project, Release
from builds.services.evidence import view_of
from builds.services.importing import CommitMisstated, ReleaseChanged, ReleaseMisnamed, import_release
from builds.services.projects import ReleaseNotNamed, find_release
from tests.domain.test_manifest import document, measurement
from tests.portal.conftest import COMMIT

pytestmark = pytest.mark.django_db


def test_without_a_published_command_line_the_measurement_is_unknown_and_never_differs(
    project: Project, tmp_path: Path
) -> None:
    for name in ("vmlinuz", "initrd.img", "ovmf.fd"):
        (tmp_path / name).write_bytes(name.encode())
    components = {
        f"{role}_sha256": hashlib.sha256(name.encode()).hexdigest()
        for role, name in (("kernel", "vmlinuz"), ("initrd", "initrd.img"), ("ovmf", "ovmf.fd"))
    }
    (tmp_path / "manifest.json").write_text(json.dumps(document(components=components)))
    release = import_release(project, tmp_path)
    (row,) = view_of(Release.objects.with_evidence().get(pk=release.pk)).measurements
    assert row.evidence.recomputed is None
    assert row.evidence.state == "unknown"
    assert row.problem is not None
    assert "names the command line" in row.problem["what"]


def test_a_source_that_cannot_be_reached_is_an_event_and_the_release_is_still_there(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(document()))
    release = import_release(project, tmp_path)
    (notice,) = view_of(Release.objects.with_evidence().get(pk=release.pk)).notices
    assert notice.kind == "materials-failed"
    assert "git could not fetch" in notice.sentence
    assert all(component.problem["code"] == "missing-file" for component in release.components.all())


def published(directory: Path, **measured: object) -> Path:
    """A kernel with its manifest, and a measurement's document."""
    (directory / "vmlinuz").write_bytes(b"kernel")
    components = {"kernel_sha256": hashlib.sha256(b"kernel").hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(document(components=components)))
    (directory / "expected-measurement.json").write_text(json.dumps(measurement(**measured)))
    return directory


def contradictions(release: Release) -> list[str]:
    return [event.detail["sentence"] for event in release.events.filter(kind="contradiction")]


def test_a_known_releases_files_under_another_tag_are_not_that_release(project: Project, tmp_path: Path) -> None:
    first = import_release(project, published(tmp_path))
    with pytest.raises(ReleaseMisnamed):
        import_release(project, tmp_path, tag="v9.9.9")
    assert Release.objects.get() == first
    assert not first.events.filter(kind="changed-since-import").exists()


def test_files_under_another_tag_than_their_document_names_are_no_release_of_either(
    project: Project, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseMisnamed, match=r"imported as tag v9\.9\.9, manifest\.json says v1\.7\.0"):
        import_release(project, published(tmp_path), tag="v9.9.9")
    assert not Release.objects.exists()


def test_a_document_that_names_a_tag_with_a_verdicts_address_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(document(katana_version="v1.7.0/verdict")))
    with pytest.raises(ReservedTag):
        import_release(project, tmp_path)
    assert not Release.objects.exists()


def test_a_known_release_whose_tag_names_another_commit_now_is_a_change(project: Project, tmp_path: Path) -> None:
    first = import_release(project, published(tmp_path))
    assert contradictions(first) == []
    with pytest.raises(ReleaseChanged):
        import_release(project, tmp_path, commit="1" * 40, commit_is_sources=True)
    assert "1" * 40 in first.events.get(kind="changed-since-import").detail["what"]


def test_another_commit_by_the_importers_word_is_refused_and_changes_nothing_of_a_known_release(
    project: Project, tmp_path: Path
) -> None:
    first = import_release(project, published(tmp_path))
    with pytest.raises(CommitMisstated) as refused:
        import_release(project, tmp_path, commit="1" * 40)
    assert f"announced as of commit {'1' * 40} and is known as of {first.commit}" in refused.value.what
    with pytest.raises(CommandError, match="commit-misstated"):
        call_command("import_release", str(tmp_path), "--commit", "1" * 40)
    assert not first.events.filter(kind="changed-since-import").exists()
    (tmp_path / "vmlinuz").write_bytes(b"another kernel")
    with pytest.raises(ReleaseChanged) as changed:
        import_release(project, tmp_path, commit="1" * 40)
    assert "1" * 40 not in changed.value.what
    assert first.events.filter(kind="changed-since-import").count() == 1


def test_a_component_that_was_not_there_at_first_is_a_change(project: Project, tmp_path: Path) -> None:
    first = import_release(project, published(tmp_path))
    (tmp_path / "disk.raw").write_bytes(b"a disk that nobody judged")
    with pytest.raises(ReleaseChanged, match="disk"):
        import_release(project, tmp_path)
    assert first.events.filter(kind="changed-since-import").count() == 1


def test_another_published_measurement_beside_the_same_manifest_is_a_change(project: Project, tmp_path: Path) -> None:
    first = import_release(project, published(tmp_path))
    published(tmp_path, measurement="7" * 96)
    with pytest.raises(ReleaseChanged):
        import_release(project, tmp_path)
    assert first.events.filter(kind="changed-since-import").count() == 1


def test_a_change_denies_until_it_is_explained_and_another_one_denies_again(
    project: Project, tmp_path: Path, client: Client
) -> None:
    release = import_release(project, published(tmp_path))

    def said() -> str:
        view = view_of(Release.objects.with_evidence().get(pk=release.pk))
        return next(entry.sentence for entry in view.verdict.conditions if entry.key == "files-match-manifest")

    well = said()
    with pytest.raises(CommandError, match="nothing-to-explain"):
        call_command("explain_changes", release.tag, "--reason", "x", "--by", "Ada")
    published(tmp_path, measurement="7" * 96)
    with pytest.raises(ReleaseChanged):
        import_release(project, tmp_path)
    assert said().startswith("Changed since it was first seen")
    with pytest.raises(CommandError, match="reason-missing"):
        call_command("explain_changes", release.tag, "--reason", " ", "--by", "Ada")
    call_command("explain_changes", release.tag, "--reason", "a <b>typing</b> mistake", "--by", "Ada")
    assert said() == well
    html = client.get(release.get_absolute_url()).content.decode()
    assert "Ada explained the changes before this: a &lt;b&gt;typing&lt;/b&gt; mistake" in html
    assert "changed-since-import" in html
    published(tmp_path, measurement="8" * 96)
    with pytest.raises(ReleaseChanged):
        import_release(project, tmp_path)
    assert said().startswith("Changed since it was first seen")


def test_a_release_is_found_by_its_tag_and_by_its_project_where_several_have_that_tag(
    make_release: Callable[..., Release],
) -> None:
    first = make_release("v1")
    other = Project.objects.create(name="other", source_url="file:///elsewhere")
    assert find_release("v1", None) == first
    second = Release.objects.create(
        project=other, tag="v1", commit=COMMIT, source_date_epoch=1, manifest=b"{}", manifest_sha256="e" * 64
    )
    assert find_release("v1", "other") == second
    for tag, project in (("v1", None), ("v2", None), ("", None), ("v1", "third")):
        with pytest.raises(ReleaseNotNamed):
            find_release(tag, project)
    for command in (("explain_changes", "v1", "--reason", "x", "--by", "Ada"), ("rebuild", "v1"), ("rebuild",)):
        with pytest.raises(CommandError, match="release-not-named"):
            call_command(*command)
