"""What a release lacks, for its publisher: each condition with what mends it."""

from __future__ import annotations

from dataclasses import dataclass

from builds.domain.advice import Advice, Names, advise
from builds.domain.conditions import Condition, ConditionState
from builds.domain.consensus import contradicting
from builds.domain.meanings import Meaning, every_word
from builds.domain.roles import Role
from builds.domain.verdict import ReleaseVerdict
from builds.models import Project, Release
from builds.services.absent import the_release
from builds.services.comparing import launch_facts
from builds.services.evidence import ReleaseView
from builds.services.project_tags import project_with_tags


@dataclass(frozen=True, slots=True)
class AdvisedCondition:
    condition: Condition
    meaning: Meaning
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A project, its newest tags, and the release that is asked about; None while it has none."""

    project: Project
    tags: tuple[str, ...]
    release: Release | None


@dataclass(frozen=True, slots=True)
class MissingPage:
    choice: Choice
    verdict: ReleaseVerdict
    missing: tuple[AdvisedCondition, ...]
    met: tuple[AdvisedCondition, ...]


def choose(name: str, tag: str) -> Choice:
    """The release of this tag with its evidence, the newest for ""; 404 when there is no such project or tag."""
    found = project_with_tags(name)
    wanted = tag or next(iter(found.tags), "")
    release = the_release(Release.objects.with_evidence(), name, wanted) if wanted else None
    return Choice(found.project, found.tags, release)


def missing_page(choice: Choice, view: ReleaseView, *, portal: str, repository: str) -> MissingPage:
    """``portal`` is this portal's address without a slash at its end, ``repository`` the followed one or ""."""
    names = _names(view, portal, repository)
    meanings = {word.anchor: word for word in every_word()}
    advised = [
        AdvisedCondition(condition, meanings[condition.key], advise(condition, view.evidence, names))
        for condition in view.verdict.conditions
    ]
    return MissingPage(
        choice,
        view.verdict,
        missing=tuple(entry for entry in advised if entry.condition.state is not ConditionState.MET),
        met=tuple(entry for entry in advised if entry.condition.state is ConditionState.MET),
    )


def _names(view: ReleaseView, portal: str, repository: str) -> Names:
    release = view.release
    against = {entry.operator for entry in contradicting(view.evidence.counted)}
    return Names(
        project=release.project.name,
        tag=release.tag,
        portal=portal,
        files={Role(row.role): row.file_name for row in view.components if row.file_name},
        launches=tuple(launch_facts(row) for row in view.measurements),
        document=release.document_name,
        is_buildable=bool(release.recipe_roles),
        repository=repository,
        against=tuple(
            str(result.rebuild.pk) for result in view.results if result.counts and result.evidence.operator in against
        ),
    )
