"""What an import learns from the source, and what it learns when the same release is imported again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from builds.models import Project, Release
from builds.services.importing import import_release
from tests.domain.test_manifest import document
from tests.support.sources import RECIPE, Repository, make_bare_repository

pytestmark = pytest.mark.django_db

TAG = "v1.2.3"
IMAGE = f"registry.example/rust:1@sha256:{'a' * 64}"
PULLS = RECIPE.replace('materials = "base"', f'image = "{IMAGE}"')


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_bare_repository(tmp_path / "source", TAG, recipe=PULLS)


def published(directory: Path, commit: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "vmlinuz").write_bytes(b"kernel")
    components = {"kernel_sha256": hashlib.sha256(b"kernel").hexdigest()}
    described = document(components=components, katana_version=TAG, git_commit=commit)
    (directory / "manifest.json").write_text(json.dumps(described))
    return directory


def test_the_base_image_that_a_recipe_pulls_is_kept_with_the_release(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    Project.objects.update(source_url=repository.url)
    project.refresh_from_db()
    directory = published(tmp_path / "published", repository.commit)
    release = import_release(project, directory)
    assert (release.needs_registry, release.base_image) == (True, IMAGE)
    Release.objects.update(base_image="")
    import_release(project, directory)
    assert Release.objects.get().base_image == IMAGE


def test_a_source_that_could_not_be_read_is_read_when_the_release_comes_again(
    project: Project, repository: Repository, tmp_path: Path
) -> None:
    directory = published(tmp_path / "published", repository.commit)
    assert import_release(project, directory).recipe_roles == []
    Project.objects.update(source_url=repository.url)
    project.refresh_from_db()
    import_release(project, directory)
    release = Release.objects.get()
    assert release.recipe_roles == ["kernel"]
    assert release.base_image == IMAGE
    assert release.commit_time is not None
