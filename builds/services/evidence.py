"""From stored rows to evidence, and from evidence to the verdict and what pages and API show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from builds.domain.comparison import (
    SAME_INPUT,
    ComponentComparison,
    PublishedComponent,
    RebuildOutcome,
    Subject,
    compare,
    overall_outcome,
)
from builds.domain.consensus import Tally, component_tallies
from builds.domain.coverage import covered_parts
from builds.domain.digest import Digest, FileDigests
from builds.domain.evidence import (
    MeasurementEvidence,
    MeasurementState,
    OpaqueInput,
    Policy,
    PublisherEvidence,
    ReleaseEvidence,
    worst_measurement,
)
from builds.domain.lifecycle import RunState
from builds.domain.marks import Marked
from builds.domain.origins import OriginKind
from builds.domain.roles import BootMode, Role
from builds.domain.verdict import ReleaseVerdict, judge
from builds.models import (
    Component,
    LaunchConfiguration,
    Measurement,
    Rebuild,
    RebuiltComponent,
    Release,
)
from builds.services.consensus import (
    Result,
    failed_operators,
    katana_inside_initrd,
    newest_failure,
    rebuilt_digests,
    rebuilt_measurement,
    results_of,
)
from builds.services.opaque_inputs import pulled_base, untraced_files
from builds.services.release_events import (
    CONTRADICTION,
    MEASUREMENT_UNPLACED,
    REUSED_FROM,
    Announced,
    Notice,
    announcements,
    notices_of,
    open_changes,
)

NOTHING_ASKED = PublisherEvidence()


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One component as the release page shows it: published, and as rebuilt by the newest rebuild."""

    published: PublishedComponent
    file_name: str
    member: str
    container_kind: str
    reused_from: str
    """The earlier release that the publisher took it over from; empty when the documents name none."""
    problem: dict[str, str] | None
    comparison: ComponentComparison | None
    origin_kind: OriginKind | None
    origin: str
    tally: Tally
    """What all operators got for this component; ``comparison`` is of one rebuild."""

    @property
    def role(self) -> Role:
        return self.published.role

    @property
    def found(self) -> Digest | None:
        """What the published file hashes to, in the manifest's algorithm and of the subject it speaks of."""
        about_container = self.published.claim_subject is Subject.CONTAINER
        file = self.published.container if about_container else self.published.content
        return file.get(self.published.algorithm) if file is not None else None

    @property
    def outcome_words(self) -> str:
        """``same input`` for reproduced bytes that no build step made, else the outcome."""
        if self.comparison is None:
            return "not rebuilt yet"
        taken_as_is = self.origin_kind not in {None, OriginKind.BUILT}
        if self.comparison.outcome is RebuildOutcome.REPRODUCED and taken_as_is:
            return SAME_INPUT
        return self.comparison.outcome.value


@dataclass(frozen=True, slots=True)
class MeasurementRow:
    """One launch configuration with its measurement three ways and what it binds."""

    configuration: LaunchConfiguration
    evidence: MeasurementEvidence
    problem: dict[str, str] | None
    rebuilt_problem: dict[str, str] | None

    @property
    def coverage(self) -> list[tuple[str, Marked]]:
        """Every part with whether the measurement covers it, or that this configuration does not use it."""
        return covered_parts(self.evidence)


@dataclass(frozen=True, slots=True)
class ReusedPart:
    """What the publisher says was taken over from an earlier release: the document's key and value."""

    key: str
    role: str
    origin: str


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """All that the release page and the API say about a release."""

    release: Release
    evidence: ReleaseEvidence
    verdict: ReleaseVerdict
    components: tuple[ComponentRow, ...]
    measurements: tuple[MeasurementRow, ...]
    opaque: tuple[OpaqueInput, ...]
    newest: Rebuild | None
    """The rebuild that the component rows show: the newest that counts and contradicts, else the newest that counts."""
    results: tuple[Result, ...]
    """One for each operator, newest first."""
    rebuilds: tuple[Rebuild, ...]
    """The newest attempts; none where they were left out of what was loaded."""

    @property
    def contradicts(self) -> bool:
        """Whether the published files contradict their own manifest."""
        return any(event.kind == CONTRADICTION for event in self.release.events.all())

    @property
    def measured(self) -> MeasurementState | None:
        """One state for all launch configurations; None when no measurement of a known one was published."""
        return worst_measurement(row.evidence.state for row in self.measurements)

    @property
    def notices(self) -> list[Notice]:
        """Contradictions, later changes, and problems that no later success has ended."""
        return notices_of(list(self.release.events.all()), placed=bool(self.measurements))

    @property
    def announcements(self) -> list[Announced]:
        """Who told the portal of it by an account's token."""
        return announcements(self.release.events.all())

    @property
    def reused(self) -> list[ReusedPart]:
        return _reused(self.release)


def view_of(
    release: Release,
    publisher: PublisherEvidence = NOTHING_ASKED,
    first_difference: str = "",
    first_result_expected: datetime | None = None,
) -> ReleaseView:
    """Build the view from a release loaded ``with_evidence``; makes no further query.

    Without ``publisher`` attestations are unchecked, which denies. ``first_difference`` is where operators part,
    ``first_result_expected`` when a release without a result may have one.
    """
    published = [published_component(component) for component in release.components.all()]
    results = results_of(release, published)
    # One that does not count is listed, but nothing it gave is shown as evidence.
    counting = [result for result in results if result.counts]
    newest = _shown(counting)
    measurements = _measurement_rows(release, counting)
    evidence = ReleaseEvidence(
        commit=release.commit,
        components=tuple(published),
        contradictions=_contradictions(release),
        absent=_absences(release),
        attestations=publisher.attestations,
        unwatched=publisher.unwatched,
        results=tuple(result.evidence for result in results),
        failed=failed_operators(release),
        failure=newest_failure(release),
        first_difference=first_difference,
        first_result_expected=first_result_expected,
        measurements=tuple(row.evidence for row in measurements),
        unplaced=() if measurements else _unplaced(release),
        embedded=(*untraced_files(release, [result.rebuild for result in counting]), *pulled_base(release)),
        base_unnamed=release.needs_registry and not release.base_image,
        changes=tuple(str(event.detail["what"]) for event in open_changes(release.events.all())),
        policy=policy_of(release),
    )
    return ReleaseView(
        release=release,
        evidence=evidence,
        verdict=judge(evidence),
        components=_component_rows(release, published, newest, component_tallies(evidence)),
        measurements=measurements,
        opaque=tuple(evidence.opaque),
        newest=newest,
        results=results[::-1],
        rebuilds=tuple(getattr(release, "attempts", ())),
    )


def policy_of(release: Release) -> Policy:
    """The policy of the release's project."""
    accepted = frozenset(Digest.sha256(entry.sha256) for entry in release.project.accepted_opaque_inputs.all())
    return Policy(needed_operators=release.project.needed_operators, accepted_opaque=accepted)


def _shown(counting: Sequence[Result]) -> Rebuild | None:
    against = [entry for entry in counting if entry.evidence.outcome is not RebuildOutcome.REPRODUCED]
    return (against or counting)[-1].rebuild if counting else None


def comparisons_of(rebuild: Rebuild) -> tuple[ComponentComparison, ...]:
    """The rows of one rebuild against its release; empty unless it succeeded."""
    if rebuild.run_state is not RunState.SUCCEEDED:
        return ()
    published = [published_component(component) for component in rebuild.release.components.all()]
    return compare(published, rebuilt_digests(rebuild))


def outcome_of(rebuild: Rebuild) -> RebuildOutcome | None:
    """The overall outcome of one rebuild; None unless it succeeded."""
    return overall_outcome(comparisons_of(rebuild))


def published_component(component: Component) -> PublishedComponent:
    """The stored row as the pure value that rules speak of."""
    return PublishedComponent(
        role=Role(component.role),
        claimed=Digest.parse(component.claimed_digest) if component.claimed_digest else None,
        claim_subject=Subject(component.claim_subject),
        content=_file_digests(component.size, component.sha256, component.sha384),
        container=_file_digests(component.container_size, component.container_sha256, component.container_sha384),
    )


def _file_digests(size: int | None, sha256: str, sha384: str) -> FileDigests | None:
    if size is None:
        return None
    return FileDigests(size=size, sha256=Digest.sha256(sha256), sha384=Digest.sha384(sha384))


def _unplaced(release: Release) -> tuple[str, ...]:
    return tuple(f"{event.detail['what']}." for event in release.events.all() if event.kind == MEASUREMENT_UNPLACED)


def _reused(release: Release) -> list[ReusedPart]:
    return [
        ReusedPart(event.detail["key"], event.detail["role"], event.detail["origin"])
        for event in release.events.all()
        if event.kind == REUSED_FROM
    ]


def _contradictions(release: Release) -> tuple[str, ...]:
    return tuple(str(event.detail["sentence"]) for event in release.events.all() if event.kind == CONTRADICTION)


def _absences(release: Release) -> tuple[str, ...]:
    return tuple(
        f"{component.role}: {component.problem['what']}."
        for component in release.components.all()
        if component.problem is not None
    )


def _component_rows(
    release: Release, published: list[PublishedComponent], newest: Rebuild | None, tallies: Mapping[Role, Tally]
) -> tuple[ComponentRow, ...]:
    comparisons = {row.role: row for row in (compare(published, rebuilt_digests(newest)) if newest is not None else ())}
    rebuilt: dict[str, RebuiltComponent] = (
        {row.role: row for row in newest.components.all()} if newest is not None else {}
    )
    stored = {component.role: component for component in release.components.all()}
    reused = {part.role: part.origin for part in _reused(release)}
    order = list(Role)
    rows = []
    for value in sorted(published, key=lambda value: order.index(value.role)):
        component = stored[value.role]
        made = rebuilt.get(value.role)
        rows.append(
            ComponentRow(
                published=value,
                file_name=component.file_name,
                member=component.member,
                container_kind=component.container_kind,
                reused_from=reused.get(component.role, ""),
                problem=component.problem,
                comparison=comparisons.get(value.role),
                origin_kind=OriginKind(made.origin_kind) if made is not None else None,
                origin=made.origin if made is not None else "",
                tally=tallies[value.role],
            )
        )
    return tuple(rows)


def _measurement_rows(release: Release, counting: Sequence[Result]) -> tuple[MeasurementRow, ...]:
    return tuple(_measurement_row(entry, counting) for entry in release.launch_configurations.all())


def _measurement_row(configuration: LaunchConfiguration, counting: Sequence[Result]) -> MeasurementRow:
    measurement: Measurement = configuration.measurement
    newest = (
        row
        for result in counting[::-1]
        for row in result.rebuild.measurements.all()
        if row.launch_configuration_id == configuration.pk
    )
    rebuilt = next(newest, None)
    evidence = MeasurementEvidence(
        configuration=configuration.name,
        boot_mode=BootMode(configuration.boot_mode),
        published=measurement.published or None,
        recomputed=measurement.recomputed or None,
        rebuilt=rebuilt_measurement(configuration, counting, measurement.published),
        coverage=frozenset(measurement.coverage),
        katana_inside_initrd=katana_inside_initrd(counting),
        not_covered=tuple(entry["what"] for entry in configuration.not_covered),
    )
    return MeasurementRow(
        configuration=configuration,
        evidence=evidence,
        problem=measurement.problem,
        rebuilt_problem=rebuilt.problem if rebuilt is not None else None,
    )
