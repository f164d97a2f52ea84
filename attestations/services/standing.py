"""How a release's components stand: one state each, with every bundle behind it and the questions asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from attestations.domain.findings import component_state
from attestations.domain.policy import COMMIT_CLAUSE, ClauseState
from attestations.models import (
    BundleRecord,
    ExpectedPublisher,
    FindingRecord,
    FollowedRelease,
    Following,
    Inquiry,
    Sighting,
)
from attestations.services.publishers import Judge, judges_of
from attestations.services.trust_roots import KnownTrustRoot
from attestations.services.verification import artifact_of
from attestations.services.watching import Watch, watches
from builds.domain.errors import PortalError
from builds.domain.evidence import AttestationState, AttestedComponent, PublisherEvidence
from builds.domain.roles import Role
from builds.models import Release
from builds.services.differences import first_differences
from builds.services.earlier_runs import first_result_expected
from builds.services.evidence import ReleaseView, view_of
from builds.snapshot import refuse_without_snapshot
from builds.together import attach, together_of


@dataclass(frozen=True, slots=True)
class JudgedBundle:
    """One bundle for one component: its newest finding, and how often it was judged before."""

    sighting: Sighting
    finding: FindingRecord | None
    earlier: tuple[FindingRecord, ...]
    problem: str = ""
    """Why the finding no longer counts as verified: policy, trust root or file are others now, or cannot be had."""

    @property
    def state(self) -> AttestationState:
        """A yes counts only for what is asked today; a no stays one until it is made anew."""
        state = AttestationState(self.finding.state) if self.finding is not None else AttestationState.UNCHECKED
        return AttestationState.UNCHECKED if self.problem and state is AttestationState.VERIFIED else state

    @property
    def is_from_another_commit(self) -> bool:
        """Whether only the source commit speaks against it: another release of the same publisher has this file."""
        return self.distance == (True, 1) and self.state is AttestationState.WRONG_IDENTITY

    @property
    def distance(self) -> tuple[bool, int]:
        """How far from the expected publisher: another source commit first, then the clauses that do not hold."""
        clauses = self.finding.clauses if self.finding is not None else []
        broken = [name for name, _, _, state in clauses if not ClauseState(state).holds]
        return COMMIT_CLAUSE in broken, len(broken)


@dataclass(frozen=True, slots=True)
class ComponentStanding:
    """A component's attestations: the state, a sentence that says why, the bundles, and who was asked when."""

    role: Role
    state: AttestationState
    sentence: str
    bundles: tuple[JudgedBundle, ...]
    asked_at: datetime | None
    problem: Mapping[str, str] | None
    """Why a source gave no answer, as a named error; None when all did."""

    @property
    def to_read(self) -> JudgedBundle | None:
        """The bundle that is shown unfolded: the one that decided, unless all is well."""
        if self.state is AttestationState.VERIFIED:
            return None
        return deciding(self.state, self.bundles)


def deciding(state: AttestationState, bundles: Iterable[JudgedBundle]) -> JudgedBundle | None:
    """Of the bundles in the component's state, the one that says most: nearest to what was expected."""
    return min(
        (bundle for bundle in bundles if bundle.state is state), key=lambda bundle: bundle.distance, default=None
    )


@dataclass(frozen=True, slots=True)
class ReleaseStanding:
    """All components of a release, in the order of roles, bundles that are about none of them, who watches it, and
    whom the project expects to publish (None: nobody said)."""

    components: tuple[ComponentStanding, ...]
    stray: tuple[JudgedBundle, ...]
    watch: Watch | None = None
    publisher: ExpectedPublisher | None = None

    @property
    def by_role(self) -> dict[Role, AttestedComponent]:
        """What the verdict is derived from."""
        return {entry.role: AttestedComponent(entry.state, entry.sentence) for entry in self.components}

    @property
    def evidence(self) -> PublisherEvidence:
        return PublisherEvidence(self.by_role, self.watch.stale if self.watch is not None else "")


def standings_of(
    releases: Sequence[Release], roots: Mapping[str, KnownTrustRoot] | None = None
) -> dict[int, ReleaseStanding]:
    """The standing of each release by its primary key, in a constant number of queries.

    The releases must come with their components; ``roots`` as for ``judges_of``.
    """
    if not releases:
        return {}
    refuse_without_snapshot()
    rows, asked, watched, publishers = _loaded(releases)
    judges = judges_of({release.project_id for release in releases}, roots, publishers) if rows else {}
    known = {release.pk: release for release in releases}
    expected = {publisher.project_id: publisher for publisher in publishers}
    sightings = defaultdict(list)
    for sighting in rows:
        release = known[sighting.release_id]
        sightings[release.pk].append(_judged(sighting, release, judges[release.project_id]))
    inquiries = defaultdict(list)
    for inquiry in asked:
        inquiries[inquiry.release_id].append(inquiry)
    return {
        release.pk: replace(
            _standing(release, sightings[release.pk], inquiries[release.pk]),
            watch=watched.get(release.pk),
            publisher=expected.get(release.project_id),
        )
        for release in releases
    }


def _loaded(
    releases: Sequence[Release],
) -> tuple[list[Sighting], list[Inquiry], dict[int, Watch], list[ExpectedPublisher]]:
    """All that is stored of their attestations, in one statement: a sighting comes with its bundle and findings."""
    sightings, bundles, findings, inquiries, followed, following, publishers = together_of(
        _of_releases, [release.pk for release in releases], {release.project_id for release in releases}
    )
    by_key = {bundle.pk: bundle for bundle in bundles}
    for sighting in sightings:
        sighting.bundle = by_key[sighting.bundle_id]
    attach(sightings, "findings", findings)
    repositories = {row.pk: row for row in following}
    for row in followed:
        row.following = repositories[row.following_id]
    return sightings, inquiries, watches(followed), publishers


def _of_releases(releases: Sequence[int], projects: Sequence[int]) -> tuple[QuerySet[Any], ...]:
    seen = Sighting.objects.filter(release__in=releases)
    watched = FollowedRelease.objects.filter(release__in=releases, following__is_enabled=True)
    return (
        seen,
        BundleRecord.objects.filter(pk__in=seen.order_by().values("bundle")),
        FindingRecord.objects.filter(sighting__release__in=releases),
        Inquiry.objects.filter(release__in=releases),
        watched,
        Following.objects.filter(pk__in=watched.order_by().values("following")),
        ExpectedPublisher.objects.filter(project__in=projects),
    )


def judged_today(sightings: QuerySet[Sighting]) -> list[JudgedBundle]:
    """What bundles count for under today's policies, roots and files, in the order of the query.

    A stored finding says what was found once; in a constant number of queries this says what is left of it. Each
    sighting comes with bundle, release, project and findings.
    """
    rows = list(
        sightings.select_related("bundle", "release__project")
        .defer("bundle__content")
        .prefetch_related("release__components", _findings_in_order())
    )
    judges = judges_of({row.release.project_id for row in rows}) if rows else {}
    return [_judged(row, row.release, judges[row.release.project_id]) for row in rows]


def _findings_in_order() -> Prefetch[str, Any, str]:
    return Prefetch("findings", FindingRecord.objects.order_by("found_at", "pk"))


def publishers_of(releases: Sequence[Release]) -> dict[int, PublisherEvidence]:
    """What verdicts are derived from, for each release by its primary key."""
    return {key: standing.evidence for key, standing in standings_of(releases).items()}


def judged_view(
    release: Release, roots: Mapping[str, KnownTrustRoot] | None = None
) -> tuple[ReleaseView, ReleaseStanding]:
    """A release's view with its attestations judged, from a release loaded ``with_evidence``."""
    standing = standings_of([release], roots)[release.pk]
    parted = first_differences([release])
    expected = first_result_expected(release, timezone.now())
    return view_of(release, standing.evidence, parted.get(release.pk, ""), expected), standing


def _standing(release: Release, judged: list[JudgedBundle], inquiries: list[Inquiry]) -> ReleaseStanding:
    roles = {component.role for component in release.components.all()}
    components = tuple(
        _component(
            role,
            tuple(entry for entry in judged if entry.sighting.role == role),
            _newest([inquiry for inquiry in inquiries if inquiry.role == role]),
        )
        for role in Role
        if role in roles
    )
    strays = tuple(entry for entry in judged if entry.sighting.role not in roles)
    return ReleaseStanding(components, strays)


def _judged(sighting: Sighting, release: Release, judge: Judge | PortalError) -> JudgedBundle:
    findings = list(sighting.findings.all())
    if not findings:
        return JudgedBundle(sighting, None, ())
    return JudgedBundle(sighting, findings[-1], tuple(findings[:-1]), _outdated(findings[-1], sighting, release, judge))


def _outdated(finding: FindingRecord, sighting: Sighting, release: Release, judge: Judge | PortalError) -> str:
    """Why a finding rests on something else than today's policy, roots and files; "" when it does not."""
    if isinstance(judge, PortalError):
        return f"The project's expected publisher cannot be judged by: {judge.what}. {judge.todo}"
    component = next((entry for entry in release.components.all() if entry.role == sighting.role), None)
    if finding.basis == judge.basis(release.commit, artifact_of(component)):
        return ""
    return "Policy, trust roots, verifier or file changed since this was judged; it is judged anew shortly."


def _newest(inquiries: list[Inquiry]) -> list[Inquiry]:
    """The newest question for each digest and source: an older failure is healed by a newer answer."""
    return list({(entry.digest, entry.source): entry for entry in inquiries}.values())


def _component(role: Role, bundles: tuple[JudgedBundle, ...], inquiries: list[Inquiry]) -> ComponentStanding:
    failed = next((entry for entry in inquiries if entry.problem is not None), None)
    asked = bool(inquiries) and failed is None
    state = component_state((bundle.state for bundle in bundles), asked=asked)
    asked_at = min((entry.asked_at for entry in inquiries), default=None)
    return ComponentStanding(
        role=role,
        state=state,
        sentence=_sentence(state, bundles, asked_at, inquiries, failed),
        bundles=bundles,
        asked_at=asked_at,
        problem=failed.problem if failed is not None else None,
    )


def _sentence(
    state: AttestationState,
    bundles: tuple[JudgedBundle, ...],
    asked_at: datetime | None,
    inquiries: list[Inquiry],
    failed: Inquiry | None,
) -> str:
    """Why the component is in its state; the finding's own reason where a finding decided."""
    decisive = deciding(state, bundles)
    if decisive is not None:
        return _decisive_sentence(decisive, state)
    if state is AttestationState.ABSENT and asked_at is not None:
        sources = " and ".join(sorted({entry.source for entry in inquiries}))
        return f"{sources} holds no attestation for it (asked {asked_at:%Y-%m-%d %H:%M} UTC)."
    if failed is not None and failed.problem is not None:
        return f"{failed.source} gave no answer: {failed.problem['what']}. {failed.problem['todo']}"
    return "Nobody has been asked for attestations of it."


def _decisive_sentence(bundle: JudgedBundle, state: AttestationState) -> str:
    finding = bundle.finding
    if finding is None:
        return "A bundle was found and is not judged yet."
    if state is AttestationState.UNCHECKED and bundle.problem:
        return bundle.problem
    if state is AttestationState.VERIFIED and finding.through:
        return f"{finding.reason} It covers this file through its container {finding.through}."
    return finding.reason
