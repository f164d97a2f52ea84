"""The page that lays two releases of a project beside each other."""

from __future__ import annotations

import html
from collections.abc import Callable
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from builds.domain.materials import lock_digest
from builds.domain.roles import Role
from builds.models import Material, Measurement, Project, Rebuild, Release
from tests.support.operators import digests

pytestmark = pytest.mark.django_db

MARK = '<mark title="the first character that differs">'

ADDRESS = "/compare/enclave/"


def page(client: Client, query: str = "") -> str:
    answer = client.get(ADDRESS + query)
    assert answer.status_code == 200
    return html.unescape(answer.text)


def change(release: Release, role: Role, content: str) -> None:
    release.components.filter(role=role).update(**digests(content))


def measure(release: Release, value: str, coverage: list[str]) -> None:
    Measurement.objects.filter(launch_configuration__release=release).update(
        published=value, recomputed=value, coverage=coverage
    )


def test_without_a_choice_the_newest_two_are_compared_and_can_be_swapped(
    client: Client, make_release: Callable[..., Release]
) -> None:
    for tag in ("v1", "v2", "v3"):
        make_release(tag=tag)
    shown = page(client)
    assert '<input id="from" name="from" list="tags" value="v2"' in shown
    assert '<input id="to" name="to" list="tags" value="v3"' in shown
    assert "?from=v3&to=v2" in shown
    assert '<input id="from" name="from" list="tags" value="v1"' in page(client, "?to=v2")
    assert '<input id="to" name="to" list="tags" value="v3"' in page(client, "?from=v2")


def test_both_digests_are_whole_and_the_first_character_that_differs_is_marked(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release(tag="v1")
    change(make_release(tag="v2"), Role.KERNEL, "a longer kernel")
    shown = page(client)
    old, new = str(digests("kernel")["sha256"]), str(digests("a longer kernel")["sha256"])
    place = next(n for n in range(64) if old[n] != new[n])
    assert f"sha256:{old[:place]}{MARK}{old[place]}</mark>{old[place + 1 :]}" in shown
    assert f"sha256:{new[:place]}{MARK}{new[place]}</mark>{new[place + 1 :]}" in shown
    assert "+9 bytes" in shown
    assert "the same bytes" in shown


def test_a_new_measurement_warns_that_sealed_data_will_not_open(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release(tag="v1")
    measure(make_release(tag="v2"), "e" * 96, ["cmdline", "initrd", "kernel", "ovmf"])
    shown = page(client)
    assert '<span class="state open">sealed data will not open</span>' in shown
    assert "will not open under v2" in shown
    assert "SNP_GET_DERIVED_KEY" in shown


def test_a_measurement_of_the_firmware_only_that_stayed_warns_though_the_kernel_changed(
    client: Client, make_release: Callable[..., Release]
) -> None:
    before, after = make_release(tag="v1"), make_release(tag="v2")
    for release in (before, after):
        measure(release, "e" * 96, ["ovmf"])
    change(after, Role.KERNEL, "another kernel")
    shown = page(client)
    assert '<span class="state bad">sealed data opens for any kernel</span>' in shown
    assert "Kernel, initrd or command line changed, and the measurement did not" in shown


def test_a_measurement_that_is_not_known_is_unknown_and_not_the_same(
    client: Client, make_release: Callable[..., Release]
) -> None:
    for tag in ("v1", "v2"):
        measure(make_release(tag=tag), "", [])
    shown = page(client)
    assert "Whether data sealed under v1 opens under v2 is unknown" in shown
    assert "sealed data opens" not in shown


def test_decision_and_conditions_stand_beside_each_other(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    before, after = make_release(tag="v1"), make_release(tag="v2")
    for name in ("ada", "ben"):
        make_rebuild(before, by=name)
        make_rebuild(after, by=name, changed=(Role.INITRD,))
    shown = page(client)
    assert "2 of 2 reproduced, 0 contradict" in shown
    assert "0 of 2 reproduced, 2 contradict" in shown
    assert 'got the same bytes from the source" was met, is unmet' in html.unescape(shown)


def test_materials_are_listed_by_what_became_of_them_and_bounded(
    client: Client, make_release: Callable[..., Release]
) -> None:
    before, after = make_release(tag="v1"), make_release(tag="v2")
    kept = Material.objects.create(sha256="0" * 64, name="dash", version="0.5", architecture="amd64", authenticity="x")
    before.materials.add(kept)
    after.materials.add(kept)
    for number in range(150):
        after.materials.add(
            Material.objects.create(sha256=f"{number + 1:064x}", name=f"new{number:03}", version="1", authenticity="x")
        )
    for side, digit in ((before, "a"), (after, "b")):
        side.materials.add(Material.objects.create(sha256=digit * 64, name="make", version="4.3", authenticity="x"))
    shown = page(client)
    assert "1 are the same, by digest" in shown
    assert "Added: 150" in shown
    assert "the first 15 of 150" in shown
    assert "new014" in shown
    assert "new015" not in shown
    assert "?from=v1&to=v2&all=1#materials" in page(client, "?from=v1&to=v2")
    assert "new149" in page(client, "?all=1")
    assert "1 of the same name and version has another digest" in shown


def test_a_source_on_a_known_forge_is_linked_and_any_other_is_only_named(
    client: Client, make_release: Callable[..., Release], project: Project
) -> None:
    make_release(tag="v1")
    Release.objects.filter(pk=make_release(tag="v2").pk).update(commit="d" * 40)
    assert f"git log --oneline {'c' * 40}..{'d' * 40}" in page(client)
    assert "compare/c" not in page(client)
    Project.objects.update(source_url="https://github.com/example/enclave.git")
    assert f'href="https://github.com/example/enclave/compare/{"c" * 40}...{"d" * 40}"' in page(client)
    Project.objects.update(source_url="javascript:alert(1)//")
    assert 'href="javascript' not in page(client)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_releases_say_what_to_do(
    client: Client, project: Project, make_release: Callable[..., Release], count: int
) -> None:
    for number in range(count):
        make_release(tag=f"v{number}")
    assert "import_release" in page(client)


def test_what_is_not_there_is_named(client: Client, make_release: Callable[..., Release]) -> None:
    make_release(tag="v1")
    missing = client.get(f"{ADDRESS}?from=v1&to=v9")
    assert missing.status_code == 404
    assert "enclave v9" in missing.text
    nobody = client.get("/compare/nobody/")
    assert nobody.status_code == 404
    assert "There is no such project here" in nobody.text
    hostile = client.get(f"{ADDRESS}?from=v1&to={quote('<script>' * 1000)}")
    assert hostile.status_code == 404
    assert "<script>" not in hostile.text.replace("<script src", "")


def test_a_release_may_be_compared_with_itself(client: Client, make_release: Callable[..., Release]) -> None:
    make_release(tag="v1")
    assert "v1 is compared with itself." in page(client, "?from=v1&to=v1")


def test_a_lock_whose_materials_could_not_be_fetched_is_not_taken_for_an_empty_one(
    client: Client, make_release: Callable[..., Release]
) -> None:
    make_release(tag="v1")
    after = make_release(tag="v2")
    told = "The materials of one of them are not known, so that nothing is said of what else changed in the build."
    assert told in page(client)
    after.materials.add(Material.objects.create(sha256="1" * 64, name="gcc", version="14", authenticity="x"))
    assert told in page(client)
    Release.objects.update(lock_sha256=lock_digest([]))
    assert told not in page(client)


def test_strangers_names_are_shown_as_they_are_and_change_nothing(
    client: Client, make_release: Callable[..., Release]
) -> None:
    before, after = make_release(tag="v1"), make_release(tag="v2")
    Release.objects.filter(pk=before.pk).update(lock_sha256=lock_digest([]))
    after.materials.add(
        Material.objects.create(sha256="1" * 64, name="<b>\u202enama", version="9" * 200, authenticity="x")
    )
    after.launch_configurations.update(command_line="</code><script>alert(1)</script>" + "x" * 9_000)
    before.launch_configurations.update(command_line="\u202e")
    answer = client.get(ADDRESS).text
    assert "<script>alert" not in answer
    assert "\u202e" not in answer
    assert "&lt;b&gt;\N{REPLACEMENT CHARACTER}nama" in answer


def test_queries_do_not_grow_with_operators_materials_or_releases(
    client: Client, make_release: Callable[..., Release], make_rebuild: Callable[..., Rebuild]
) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            page(client, "?from=v1&to=v2")
        return len(queries)

    first, second = make_release(tag="v1"), make_release(tag="v2")
    for release in (first, second):
        make_rebuild(release, by="ada")
    one = count()
    for name in ("ben", "cleo", "dora"):
        make_rebuild(first, by=name)
        make_rebuild(second, by=name)
    for number in range(10):
        make_release(tag=f"w{number}")
    assert count() == one
    assert one <= 25


def test_only_reading_is_answered(client: Client, project: Project) -> None:
    assert client.post(ADDRESS).status_code == 405


def test_a_page_about_many_changes_stays_small(client: Client, make_release: Callable[..., Release]) -> None:
    sides = [make_release(tag=tag) for tag in ("v1", "v2")]
    for number in range(300):
        make_release(tag=f"w{number}")
    for digit, release in enumerate(sides):
        rows = [
            Material(sha256=f"{digit}{number:063x}", name=f"n{number}", version=f"1.{digit}", authenticity="x")
            for number in range(400)
        ]
        release.materials.add(*Material.objects.bulk_create(rows))
        change(release, Role.KERNEL, f"kernel {digit}")
    assert len(client.get(f"{ADDRESS}?from=v1&to=v2").content) < 60_000
