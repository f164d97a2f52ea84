"""Loads two releases beside each other, in a constant number of queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from builds.domain.likeness import forge_comparison
from builds.domain.materials import lock_digest
from builds.domain.release_comparison import (
    ComponentFacts,
    MaterialFacts,
    ReleaseComparison,
    ReleaseFacts,
    compare_releases,
)
from builds.domain.sealing import LaunchChange, LaunchFacts, consequence
from builds.domain.tones import tone_of
from builds.models import Material, Project, Release
from builds.services.absent import RELEASE, NotHere
from builds.services.evidence import MeasurementRow, ReleaseView, view_of
from builds.services.pages import PublishersOf
from builds.services.project_tags import project_with_tags

SHOWN_MATERIALS = 15
"""Of each kind of change; the rest is counted until somebody asks for all."""

type PoliciesOf = Callable[[Sequence[Release]], Mapping[int, str]]
"""The digest of the policy that each release's newest signed verdict names, by primary key; given from above."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """What becomes of data sealed under one release, for one launch configuration."""

    change: LaunchChange
    sentence: str

    @property
    def tone(self) -> str:
        return tone_of(self.change.sealing)


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """``comparison`` is None while the project has fewer than two releases to choose by itself."""

    project: Project
    tags: tuple[str, ...]
    comparison: ReleaseComparison | None
    before: Release | None = None
    after: Release | None = None
    forge: str = ""
    """The address of the forge's own comparison; "" when the source lies on none that is known."""

    @property
    def consequences(self) -> list[Consequence]:
        if self.comparison is None or self.before is None or self.after is None:
            return []
        return [
            Consequence(change, consequence(change, self.before.tag, self.after.tag))
            for change in self.comparison.launches
        ]


def comparison_page(
    name: str, wanted: tuple[str, str], *, publishers_of: PublishersOf, policies_of: PoliciesOf
) -> ComparisonPage:
    """Two releases of a project by their tags; "" stands for the newest, and for the one before the other."""
    found = project_with_tags(name)
    project, tags = found.project, found.tags
    chosen = _chosen(project, tags, *wanted)
    if chosen is None:
        return ComparisonPage(project, tags, None)
    releases = {row.tag: row for row in Release.objects.with_evidence().filter(project=project, tag__in=set(chosen))}
    for tag in chosen:
        if tag not in releases:
            raise NotHere(RELEASE, f"{name} {tag}")
    rows = list(releases.values())
    publishers, policies, materials = publishers_of(rows), policies_of(rows), _materials_of(rows)
    facts = {
        row.tag: release_facts(view_of(row, publishers[row.pk]), materials[row.pk], policies.get(row.pk, ""))
        for row in rows
    }
    before, after = (releases[tag] for tag in chosen)
    forge = forge_comparison(project.source_url, before.commit, after.commit) if before.commit != after.commit else ""
    return ComparisonPage(project, tags, compare_releases(facts[before.tag], facts[after.tag]), before, after, forge)


def _chosen(project: Project, tags: Sequence[str], before: str, after: str) -> tuple[str, str] | None:
    """``tags`` are the newest ones, in their order."""
    after = after or next((tag for tag in tags if tag != before), "")
    if not before and after in tags[:-1]:
        before = tags[tags.index(after) + 1]
    elif not before and after:
        newer = project.releases.filter(tag=after).only("source_date_epoch").first()
        older = project.releases.older_than(newer) if newer is not None else project.releases.all()
        earlier = older.in_order().values_list("tag", flat=True).first()
        before = earlier or next((tag for tag in tags if tag != after), "")
    return (before, after) if before and after else None


def release_facts(view: ReleaseView, materials: tuple[MaterialFacts, ...], policy_sha256: str) -> ReleaseFacts:
    """What is compared of a release; without materials they are unknown, unless its lock is known and names none.

    A lock whose materials could not be fetched names some that are not here.
    """
    release = view.release
    return ReleaseFacts(
        tag=release.tag,
        commit=release.commit,
        decision=view.verdict.decision,
        conditions=view.verdict.conditions,
        components=tuple(
            ComponentFacts(row.role, row.published.content, row.published.published) for row in view.components
        ),
        materials=materials if materials or release.lock_sha256 == lock_digest([]) else None,
        launches=tuple(launch_facts(row) for row in view.measurements),
        recipe_sha256=release.recipe_sha256,
        base_image=_base_image(release),
        policy_sha256=policy_sha256,
    )


def launch_facts(row: MeasurementRow) -> LaunchFacts:
    configuration, evidence = row.configuration, row.evidence
    return LaunchFacts(
        name=configuration.name,
        boot_mode=configuration.boot_mode,
        vcpus=configuration.vcpus,
        vcpu_type=configuration.vcpu_type,
        guest_features=configuration.guest_features,
        vmm=configuration.vmm,
        command_line=configuration.command_line,
        published=evidence.published,
        recomputed=evidence.recomputed,
        rebuilt=evidence.rebuilt,
        coverage=evidence.coverage,
    )


def _materials_of(releases: Sequence[Release]) -> dict[int, tuple[MaterialFacts, ...]]:
    rows = Material.objects.filter(releases__in=releases).values_list(
        "releases__pk", "name", "architecture", "version", "sha256"
    )
    found: dict[int, list[MaterialFacts]] = {release.pk: [] for release in releases}
    for release, *facts in rows:
        if release in found:
            found[release].append(MaterialFacts(*facts))
    return {release: tuple(sorted(entries)) for release, entries in found.items()}


def _base_image(release: Release) -> str | None:
    """None while the recipe is not known, or pulls an image and nothing here says which."""
    known = release.recipe_sha256 and not (release.needs_registry and not release.base_image)
    return release.base_image if known else None
