"""Loads the rows that verdicts are derived from, in three statements for however many releases a page shows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import batched
from operator import attrgetter
from typing import Any

from django.db import connection
from django.db.models import Exists, IntegerField, Model, OuterRef, Q, QuerySet, Value

from builds.domain.origins import OriginKind
from builds.domain.roles import Role
from builds.kept_statements import kept
from builds.models import (
    AcceptedOpaqueInput,
    Affiliation,
    Component,
    EmbeddedFile,
    LaunchConfiguration,
    Measurement,
    Operator,
    Rebuild,
    Rebuilder,
    RebuilderKey,
    RebuiltComponent,
    RebuiltFile,
    RebuiltMeasurement,
    Release,
    ReleaseEvent,
    ResultSetAside,
    StoredStatement,
)
from builds.snapshot import refuse_without_snapshot
from builds.together import Rows, attach, together_of

_MOST_AT_ONCE = 500
"""Rebuilds: each is named a dozen times in a statement, which databases do not take of any length."""


def load_evidence(releases: Sequence[Release], *, attempts: bool) -> None:
    """Load what belongs to releases, their projects and rebuilds, that a verdict reads; as ``with_evidence`` says."""
    if not releases:
        return
    refuse_without_snapshot()
    keys = [release.pk for release in releases]
    projects = {release.project_id: release.project for release in releases}
    for release in releases:
        # One object for each project, so that what is attached to it is attached for all of its releases.
        release.project = projects[release.project_id]
    components, embedded, events, configurations, measurements, accepted, ties = together_of(
        _of_releases, keys, list(projects)
    )
    of_configuration = {row.launch_configuration_id: row for row in measurements}
    for configuration in configurations:
        if configuration.pk in of_configuration:
            configuration.measurement = of_configuration[configuration.pk]
    attach(releases, "components", components)
    attach(releases, "embedded_files", embedded)
    attach(releases, "events", events)
    attach(releases, "launch_configurations", configurations)
    attach(projects.values(), "accepted_opaque_inputs", accepted)
    attach(projects.values(), "affiliations", ties)
    _attach_rebuilds(releases, attempts=attempts)


def _attach_rebuilds(releases: Sequence[Release], *, attempts: bool) -> None:
    """To ``release.results`` and, where ``attempts`` are wanted, to ``release.attempts``; the newest first."""
    known = {release.pk: release for release in releases}
    results, tried = _newest(list(known), attempts=attempts)
    of_release: dict[int, list[Rebuild]] = defaultdict(list)
    for rebuild in _rebuilds(results | tried, results):
        rebuild.release = known[rebuild.release_id]
        of_release[rebuild.release_id].append(rebuild)
    for release in releases:
        own = of_release[release.pk]
        release.results = [row for row in own if row.pk in results]  # type: ignore[attr-defined]
        if attempts:
            release.attempts = [row for row in own if row.pk in tried]  # type: ignore[attr-defined]


def _newest(releases: Sequence[int], *, attempts: bool) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    """The keys of the newest results of each operator and, where wanted, of the newest runs."""
    sql, parameters = kept(_results_and_attempts if attempts else _results_alone, releases)
    found: tuple[set[uuid.UUID], set[uuid.UUID]] = set(), set()
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        for which, key in cursor.fetchall():
            found[which].add(key if isinstance(key, uuid.UUID) else uuid.UUID(key))
    return found


def _results_alone(releases: Sequence[int]) -> QuerySet[Rebuild, Any]:
    newest = Rebuild.objects.filter(release__in=releases).newest_per_operator()
    return newest.order_by().values_list(Value(0, IntegerField()), "pk")


def _results_and_attempts(releases: Sequence[int]) -> QuerySet[Rebuild, Any]:
    newest = Rebuild.objects.filter(release__in=releases).newest_attempts()
    attempts = newest.order_by().values_list(Value(1, IntegerField()), "pk")
    return _results_alone(releases).union(attempts, all=True).order_by()


def _rebuilds(keys: set[uuid.UUID], results: set[uuid.UUID]) -> list[Rebuild]:
    """Rebuilds with who made them, who is to, and what was signed of them; the newest first.

    Those that are ``results`` come with what they made.
    """
    parts = [set(part) for part in batched(keys, _MOST_AT_ONCE, strict=False)]
    found = [rebuild for part in parts for rebuild in _some_rebuilds(part, part & results)]
    return sorted(found, key=attrgetter("queued_at"), reverse=True)


def _some_rebuilds(keys: set[uuid.UUID], results: set[uuid.UUID]) -> list[Rebuild]:
    # Without a result the statement asks for what some other run made, which is nothing.
    rebuilds, rebuilders, operators, statements, vouched, aside, made, measured, files = together_of(
        _of_rebuilds, keys, results or keys
    )
    by_operator, by_rebuilder = _by_key(operators), _by_key(rebuilders)
    for rebuilder in rebuilders:
        rebuilder.operator = by_operator[rebuilder.operator_id]
    signing = _by_key(vouched)
    for statement in statements:
        statement.key = signing[statement.key_id]
    signed, put_aside = _by_rebuild(statements), _by_rebuild(aside)
    for rebuild in rebuilds:
        rebuild.rebuilder = by_rebuilder.get(rebuild.rebuilder_id)
        rebuild.wanted_from = by_rebuilder.get(rebuild.wanted_from_id)
        # One that has none is known to have none, as after a join.
        _let_have(rebuild, "statement", signed.get(rebuild.pk))
        _let_have(rebuild, "set_aside", put_aside.get(rebuild.pk))
    with_result = [rebuild for rebuild in rebuilds if rebuild.pk in results]
    attach(with_result, "components", made)
    attach(with_result, "measurements", measured)
    attach(with_result, "files", files)
    return rebuilds


def _let_have(rebuild: Rebuild, name: str, row: Model | None) -> None:
    relation: Any = Rebuild._meta.get_field(name)  # noqa: SLF001
    relation.set_cached_value(rebuild, row)
    if row is not None:
        relation.remote_field.set_cached_value(row, rebuild)


def _by_key(rows: Rows) -> Mapping[Any, Any]:
    return {row.pk: row for row in rows}


def _by_rebuild(rows: Rows) -> Mapping[uuid.UUID, Any]:
    return {row.rebuild_id: row for row in rows}


def _of_releases(releases: Iterable[int], projects: Iterable[int]) -> tuple[QuerySet[Any], ...]:
    return (
        Component.objects.filter(release__in=releases),
        EmbeddedFile.objects.filter(release__in=releases),
        ReleaseEvent.objects.filter(release__in=releases),
        LaunchConfiguration.objects.filter(release__in=releases),
        Measurement.objects.filter(launch_configuration__release__in=releases),
        AcceptedOpaqueInput.objects.filter(project__in=projects),
        Affiliation.objects.filter(project__in=projects),
    )


def _of_rebuilds(rebuilds: Iterable[uuid.UUID], results: Iterable[uuid.UUID]) -> tuple[QuerySet[Any], ...]:
    own = Rebuild.objects.filter(pk__in=rebuilds).order_by()
    rebuilders = Rebuilder.objects.filter(Q(pk__in=own.values("rebuilder")) | Q(pk__in=own.values("wanted_from")))
    statements = StoredStatement.objects.filter(rebuild__in=rebuilds)
    return (
        own,
        rebuilders,
        Operator.objects.filter(pk__in=rebuilders.order_by().values("operator")),
        statements,
        RebuilderKey.objects.filter(pk__in=statements.order_by().values("key")),
        ResultSetAside.objects.filter(rebuild__in=rebuilds),
        RebuiltComponent.objects.filter(rebuild__in=results),
        RebuiltMeasurement.objects.filter(rebuild__in=results),
        _telling_files().filter(rebuild__in=results),
    )


def _telling_files() -> QuerySet[RebuiltFile]:
    """Of the files inside components those that a verdict reads: opaque ones, the published binary wherever it lies,
    and those that the publication holds too. A signer may list thousands of others.
    """
    katana = RebuiltComponent.objects.filter(rebuild=OuterRef("rebuild"), role=Role.KATANA, sha256=OuterRef("sha256"))
    published = EmbeddedFile.objects.filter(release=OuterRef("rebuild__release"), sha256=OuterRef("sha256"))
    telling = Q(origin_kind=OriginKind.OPAQUE) | Exists(katana) | Exists(published)
    heard = Q(rebuild__rebuilder__operator__accepted_at__isnull=False)
    return RebuiltFile.objects.filter(heard & telling)
