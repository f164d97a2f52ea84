"""A statement whose SQL is kept gives what the ORM gives, for any number of keys and of either kind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from builds import evidence_rows
from builds.domain.roles import Role
from builds.kept_statements import kept
from builds.models import Component, Rebuild, Rebuilder, RebuiltComponent, Release
from builds.together import together_of
from tests.support.operators import operator_named

pytestmark = pytest.mark.django_db

type MakeRelease = Callable[..., Release]
type MakeRebuild = Callable[..., Rebuild]


def _kernels(releases: Iterable[int], rebuilds: Iterable[uuid.UUID]) -> tuple[QuerySet[Any], ...]:
    return (
        Component.objects.filter(release__in=releases, role=Role.KERNEL),
        RebuiltComponent.objects.filter(rebuild__in=rebuilds).exclude(role__in=[Role.DISK, Role.OVMF]),
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_rows_are_those_of_the_queries_for_any_number_of_keys(
    make_release: MakeRelease, make_rebuild: MakeRebuild, count: int
) -> None:
    releases = [make_release(f"v{number}") for number in range(5)]
    rebuilds = [make_rebuild(release, by="alder") for release in releases]
    wanted, made = [row.pk for row in releases][:count], [row.pk for row in rebuilds][-count:]
    found = together_of(_kernels, wanted, made)
    assert [sorted(row.pk for row in rows) for rows in found] == [
        sorted(query.values_list("pk", flat=True)) for query in _kernels(wanted, made)
    ]
    assert len(found[0]) == count
    assert len(found[1]) == 3 * count


def test_sql_is_made_once_for_each_number_of_keys_and_never_with_somebody_elses_keys() -> None:
    made: list[int] = []

    def make(keys: list[int]) -> QuerySet[Component]:
        made.append(len(keys))
        return Component.objects.filter(release__in=keys, role=Role.KERNEL)

    answers = [kept(make, keys, name="of a test") for keys in ([1], [2], [3, 4], [5, 6, 7], [8, 9, 10, 11])]
    assert made == [1, 2, 4]
    assert answers[0][0] == answers[1][0]
    given = [sorted({entry for entry in _flat(parameters) if isinstance(entry, int)}) for _, parameters in answers]
    assert given == [[1], [2], [3, 4], [5, 6, 7], [8, 9, 10, 11]]


def _flat(parameters: Iterable[Any]) -> list[Any]:
    return [one for entry in parameters for one in (entry if isinstance(entry, list) else [entry])]


def test_a_list_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        together_of(_kernels, [1], [])


def test_many_rebuilds_are_loaded_a_part_at_a_time(
    make_release: MakeRelease, make_rebuild: MakeRebuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release()
    for name in ("alder", "birch", "cedar"):
        make_rebuild(release, by=name, changed=(Role.KERNEL,))

    def loaded() -> list[tuple[uuid.UUID, str, list[str]]]:
        found = Release.objects.with_evidence().get()
        rows: list[Rebuild] = found.results  # type: ignore[attr-defined]
        return [(row.pk, row.operator_name, [made.sha256 for made in row.components.all()]) for row in rows]

    whole = loaded()
    assert [name for _, name, _ in whole] == ["Cedar", "Birch", "Alder"]
    assert all(len(made) == len(Role) for _, _, made in whole)
    monkeypatch.setattr(evidence_rows, "_MOST_AT_ONCE", 2)
    assert loaded() == whole


def test_what_a_rebuild_has_not_is_known_without_asking(
    make_release: MakeRelease, django_assert_num_queries: Callable[[int], CaptureQueriesContext]
) -> None:
    release = make_release()
    operator_named("alder")
    release.rebuilds.create(wanted_from=Rebuilder.objects.get(operator__slug="alder"))
    release.rebuilds.create()
    with django_assert_num_queries(4):
        found = Release.objects.with_evidence().get()
        (attempt,) = found.attempts  # type: ignore[attr-defined] # a place that is open to anybody is no run
        assert not hasattr(attempt, "statement")
        assert not hasattr(attempt, "set_aside")
        assert attempt.rebuilder is None
        assert attempt.operator_name == "Alder"
        assert attempt.release is found
        assert found.results == []  # type: ignore[attr-defined]
