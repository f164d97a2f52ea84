"""What an import stores when the published documents leave something open."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from builds.models import Project, Release
from builds.services.evidence import CONTRADICTION, view_of
from builds.services.importing import import_release
from tests.domain.test_manifest import document

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


@pytest.mark.parametrize("outside", [{"commit": "d" * 40}, {"tag": "v9"}])
def test_a_release_imported_again_as_something_else_contradicts_itself(
    project: Project, tmp_path: Path, outside: dict[str, str]
) -> None:
    """Imported from a directory first, followed later: GitHub's tag may name another commit than the manifest."""
    (tmp_path / "manifest.json").write_text(json.dumps(document()))
    release = import_release(project, tmp_path)
    assert not view_of(Release.objects.with_evidence().get(pk=release.pk)).contradicts
    for _ in range(2):
        assert import_release(project, tmp_path, **outside) == release
    (event,) = release.events.filter(kind=CONTRADICTION)
    assert event.detail["sentence"].startswith("The release was imported as ")
