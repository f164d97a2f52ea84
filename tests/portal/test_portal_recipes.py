"""Recipes that the portal keeps: who wrote them, when they hold, and that a release keeps the one it was read by."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from builds.models import Project, Release
from builds.services.evidence import view_of
from builds.services.importing import import_release
from builds.services.projects import UnusableRecipe, keep_recipe
from tests.domain.test_recipe import PUBLICATION
from tests.support.sources import make_bare_repository
from tests.support.vm_release import TAG, VmRelease, sha256
from tests.support.vm_world import EXAMPLE, World, conditions, expected

pytestmark = pytest.mark.django_db


def test_a_recipe_in_the_source_tree_wins(world: World, firmware: Path) -> None:
    own = PUBLICATION.replace("vcpus = 1", "vcpus = 2")
    repository = make_bare_repository(world.root / "own", TAG, recipe=own)
    world.project.source_url = repository.url
    world.project.save()
    world.release.measurement = expected(firmware, world.root, vcpus=2)
    world.release.info["LAUNCH_MEASUREMENT"] = world.release.measurement
    view = world.view()
    assert view.measurements[0].evidence.recomputed == world.release.measurement
    release = view.release
    assert (release.recipe_origin, release.recipe_sha256) == ("source-tree", sha256(own.encode()))
    assert (release.recipe_author, release.portal_recipe) == ("", "")


def test_a_later_recipe_does_not_change_what_a_release_was_read_by(world: World) -> None:
    release = world.imported()
    keep_recipe(world.project, PUBLICATION, "Grace")
    release.refresh_from_db()
    assert release.recipe_author == "Ada"
    assert sha256(release.portal_recipe.encode()) == release.recipe_sha256 == sha256(EXAMPLE.read_bytes())


def test_without_a_recipe_the_measurement_is_published_but_unplaced_until_there_is_one(
    world: World, client: Client
) -> None:
    Project.objects.filter(pk=world.project.pk).update(recipe="", recipe_author="")
    world.project.refresh_from_db()
    directory = world.publish()
    release = import_release(world.project, directory, tag=TAG)
    view = view_of(Release.objects.with_evidence().get(pk=release.pk))
    assert view.measurements == ()
    assert {notice.kind for notice in view.notices} == {"materials-failed", "measurement-unplaced"}
    assert "recipe that says what it is of could not be read" in conditions(view)["measurements-recompute"][1]
    assert client.get(f"/api/v1/releases/katana-tee-vm/{TAG}").json()["recipe"] is None
    keep_recipe(world.project, EXAMPLE.read_text(), "Ada")
    again = import_release(world.project, directory, tag=TAG)
    view = view_of(Release.objects.with_evidence().get(pk=again.pk))
    assert (again.pk, again.recipe_author) == (release.pk, "Ada")
    assert view.measurements[0].evidence.recomputed == world.release.measurement
    assert {notice.kind for notice in view.notices} == {"materials-failed"}


def test_a_recipe_with_two_configurations_does_not_say_which_one_was_measured(world: World) -> None:
    second = PUBLICATION.partition("[[launch_configurations]]")[2].replace("sealed", "other")
    keep_recipe(world.project, f"{PUBLICATION}\n[[launch_configurations]]{second}", "Ada")
    view = world.view()
    assert view.measurements == ()
    assert "2 launch configurations" in conditions(view)["measurements-recompute"][1]


def test_a_recipe_is_kept_only_when_it_can_be_read_and_has_an_author(world: World) -> None:
    for text, author in (("format = 2", "Ada"), (PUBLICATION, "")):
        with pytest.raises(UnusableRecipe):
            keep_recipe(world.project, text, author)
    world.project.refresh_from_db()
    assert world.project.recipe == EXAMPLE.read_text()
    keep_recipe(world.project, PUBLICATION.replace("\n", "\r\n"), "Ada")
    assert world.project.recipe_sha256 == sha256(PUBLICATION.encode())


def test_the_commands_take_tag_commit_and_recipe(
    db: None, tmp_path: Path, firmware: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = make_bare_repository(tmp_path / "source", TAG)
    release = VmRelease(firmware=firmware.read_bytes(), measurement=expected(firmware, tmp_path))
    directory = str(release.write(tmp_path / "release"))
    call_command("set_recipe", str(EXAMPLE), author="Ada", project="vm", source=repository.url)
    with pytest.raises(CommandError, match="tag-not-given"):
        call_command("import_release", directory, project="vm")
    with pytest.raises(CommandError, match="malformed-tag"):
        call_command("import_release", directory, project="vm", tag="a..b")
    call_command("import_release", directory, project="vm", tag=TAG, commit=repository.commit)
    assert f"vm {TAG} imported, commit {repository.commit}" in capsys.readouterr().out
    with pytest.raises(CommandError, match="malformed-recipe"):
        call_command("set_recipe", str(tmp_path / "nowhere"), author="Ada", project="vm")


def test_staff_keep_a_recipe_on_the_projects_page_and_its_digest_is_that_of_the_file(
    world: World, client: Client
) -> None:
    client.force_login(User.objects.create_superuser("root"))
    address = f"/admin/builds/project/{world.project.pk}/change/"
    form = {
        "name": "katana-tee-vm",
        "source_url": world.project.source_url,
        "needed_operators": "2",
        "recipe": PUBLICATION.replace("\n", "\r\n").strip(),
        "recipe_author": "Grace",
        "created_at_0": "2026-01-01",
        "created_at_1": "00:00:00",
        "accepted_opaque_inputs-TOTAL_FORMS": "0",
        "accepted_opaque_inputs-INITIAL_FORMS": "0",
    }
    assert client.post(address, form).status_code == 302
    world.project.refresh_from_db()
    assert (world.project.recipe_author, world.project.recipe_sha256) == ("Grace", sha256(PUBLICATION.encode()))
    assert "tee-portal.toml" in client.post(address, {**form, "recipe": "format = 2"}).content.decode()
    assert "Who wrote this recipe?" in client.post(address, {**form, "recipe_author": ""}).content.decode()
