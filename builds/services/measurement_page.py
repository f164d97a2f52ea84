"""One launch measurement: every release and launch configuration that gives it, and by whose word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from builds.domain.fair_share import fair_share
from builds.domain.measurement_words import SaidBy, Says, says
from builds.domain.verdict import Decision
from builds.models import LaunchConfiguration, Measurement, Rebuild, RebuiltMeasurement, Release
from builds.services.consensus import not_counted
from builds.services.evidence import MeasurementRow, ReleaseView, view_of
from builds.services.pages import PublishersOf

MOST_RELEASES = 20
MOST_OF_AN_OPERATOR = 5
"""Of an operator's results for one configuration the newest so many are looked at."""


@dataclass(frozen=True, slots=True)
class GivenBy:
    """An operator whose rebuilt files give the measurement; ``why_not`` is "" when the result counts."""

    rebuild: Rebuild
    why_not: str


@dataclass(frozen=True, slots=True)
class Match:
    """A launch configuration that gives the measurement, with its release's verdict of now."""

    value: str
    view: ReleaseView
    row: MeasurementRow
    operators: tuple[GivenBy, ...]

    @property
    def said_by(self) -> SaidBy:
        """What publisher, published files and rebuilt files say; a result that does not count says nothing."""
        evidence = self.row.evidence
        rebuilt = says(self.value, evidence.rebuilt)
        if any(not given.why_not for given in self.operators):
            rebuilt = Says.BOTH if rebuilt is Says.ANOTHER else Says.THIS
        return SaidBy(says(self.value, evidence.published), says(self.value, evidence.recomputed), rebuilt)

    @property
    def others(self) -> tuple[MeasurementRow, ...]:
        """The release's other launch configurations."""
        return tuple(row for row in self.view.measurements if row.configuration.pk != self.row.configuration.pk)

    @property
    def is_allowed(self) -> bool:
        """Whether all three agree on it and the release is allowed: the one case that is shown as good."""
        return self.said_by.agree and self.view.verdict.decision is Decision.ALLOW

    @property
    def decision(self) -> Decision:
        """Of this value: a release that is allowed is so by its own, and anybody may hand in another."""
        return Decision.ALLOW if self.is_allowed else Decision.DENY


@dataclass(frozen=True, slots=True)
class MeasurementPage:
    """``matches`` are of the newest releases; ``more`` says that older ones give it too."""

    value: str
    matches: tuple[Match, ...]
    more: bool

    @property
    def vouched(self) -> list[Match]:
        """Those that give it by a word that counts."""
        return [match for match in self.matches if match.said_by.speaks_for_it]


def measurement_page(value: str, *, publishers_of: PublishersOf) -> MeasurementPage:
    """Every configuration that gives ``value`` (96 hex), in a constant number of queries; without any it is unknown.

    Of the newest releases, and of each project's newest before another's second.
    """
    giving = list(
        configurations_giving(value).order_by("-release").values_list("release", "release__project").distinct()
    )
    newest = fair_share(giving, of_each=MOST_RELEASES, in_all=MOST_RELEASES)
    shown = list(Release.objects.with_evidence(attempts=False).filter(pk__in=newest).order_by("-pk"))
    publishers = publishers_of(shown)
    views = [view_of(release, publishers[release.pk]) for release in shown]
    return MeasurementPage(value, matches_of(value, views), len(giving) > len(shown))


def configurations_giving(value: str) -> QuerySet[LaunchConfiguration]:
    """Those for which anybody published, computed or rebuilt ``value``."""
    stated = Measurement.objects.filter(Q(published=value) | Q(recomputed=value)).values("launch_configuration")
    rebuilt = RebuiltMeasurement.objects.filter(value=value).values("launch_configuration")
    return LaunchConfiguration.objects.filter(Q(pk__in=stated) | Q(pk__in=rebuilt))


def matches_of(value: str, views: Sequence[ReleaseView]) -> tuple[Match, ...]:
    """Every configuration of these releases that gives ``value``. One statement; what it says of a release is the same
    whichever others there are.
    """
    given = _given_by(value, [view.release for view in views])
    return tuple(
        Match(value, view, row, _still_counting(given.get(row.configuration.pk, ()), view))
        for view in views
        for row in view.measurements
        if value in {row.evidence.published, row.evidence.recomputed} or row.configuration.pk in given
    )


def _still_counting(given: tuple[GivenBy, ...], view: ReleaseView) -> tuple[GivenBy, ...]:
    """Of each operator only the newest result counts, whatever an older one gave."""
    counting = {result.rebuild.pk for result in view.results if result.counts}
    return tuple(
        entry
        if entry.why_not or entry.rebuild.pk in counting
        else GivenBy(entry.rebuild, "A newer result of the same operator replaced it.")
        for entry in given
    )


def _given_by(value: str, releases: list[Release]) -> dict[int, tuple[GivenBy, ...]]:
    """The newest rebuild of each operator that gives the value, by the launch configuration's primary key."""
    known = {release.pk: release for release in releases}
    of_each = [F("launch_configuration"), F("rebuild__rebuilder__operator")]
    place = Window(RowNumber(), partition_by=of_each, order_by=F("pk").desc())
    rows = (
        RebuiltMeasurement.objects.filter(value=value, rebuild__release__in=releases)
        .annotate(place=place)
        .filter(place__lte=MOST_OF_AN_OPERATOR)
        .select_related("rebuild__rebuilder__operator", "rebuild__statement__key", "rebuild__set_aside")
        .defer("rebuild__statement__content", "rebuild__statement__key__enrolment")
        .order_by("-pk")
    )
    found: dict[tuple[int, str], GivenBy] = {}
    for row in rows:
        given = GivenBy(row.rebuild, not_counted(row.rebuild, known[row.rebuild.release_id]))
        who = (row.launch_configuration_id, row.rebuild.operator_name)
        if who not in found or (found[who].why_not and not given.why_not):
            found[who] = given
    by_configuration: dict[int, list[GivenBy]] = {}
    for (configuration, _), given in found.items():
        by_configuration.setdefault(configuration, []).append(given)
    return {configuration: tuple(rows) for configuration, rows in by_configuration.items()}
