"""What is known of a launch measurement: every configuration of a release that gives it, each with its decision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from builds.domain.conditions import Condition, ConditionState
from builds.domain.configuration import ConfigurationJudgement, WantedConfiguration, differing_fields
from builds.domain.errors import MalformedInput
from builds.domain.fair_share import fair_share
from builds.domain.measurement_words import SaidBy, Says
from builds.domain.recipe import CommandLineUnknown
from builds.domain.roles import BootMode
from builds.domain.verdict import Decision
from builds.models import Project, Release
from builds.pipeline.measurement import names_of_signature, signature_of
from builds.services import measurement_index
from builds.services.absent import PROJECT, the_one, the_release
from builds.services.configurations import judged, launch_of, published_configurations
from builds.services.evidence import MeasurementRow, ReleaseView, view_of
from builds.services.measurement_index import IndexHit
from builds.services.measurement_page import Match, configurations_giving, matches_of
from builds.services.pages import PublishersOf

NOT_INDEXED = "not among the configurations indexed; this is not a mismatch"
NOT_NAMED = (
    "Nothing says whose image you expect, and any project here may give this value: ask again with ?project=NAME."
)
MOST_RELEASES = 100
MOST_OF_A_PROJECT = 20
"""Releases that one answer speaks of, the newest of each project, unless the expected project was named."""
MOST_OF_A_RELEASE = 20
"""Configurations, the published ones first."""


class TagWithoutProject(MalformedInput):
    """A release was named by its tag alone, which any project may have."""

    code: ClassVar[str] = "tag-without-project"
    default_todo: ClassVar[str] = "Name the project too: ?project=NAME&tag=TAG."


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose image whoever asks expects: a project's, or one release of it."""

    project: Project
    tag: str | None


def expected(project: str | None, tag: str | None) -> Expected | None:
    """What was named, None for nothing. Raises ``TagWithoutProject``, and ``NotHere`` for what is not here."""
    if project is None:
        if tag is not None:
            raise TagWithoutProject("a tag was named, and no project", where="the query")
        return None
    found = the_one(Project.objects.filter(name=project), PROJECT, project)
    if tag is not None:
        the_release(Release.objects.all(), project, tag)
    return Expected(found, tag)


@dataclass(frozen=True, slots=True)
class Giver:
    """A configuration of a release that gives the measurement ``value``.

    ``match`` is whose word says so when it was published or rebuilt; None when only the index does, which computed it
    from the published files.
    """

    value: str
    view: ReleaseView
    wanted: WantedConfiguration
    match: Match | None
    judgement: ConfigurationJudgement

    @property
    def name(self) -> str:
        """The published configuration's; "" when nobody published this one."""
        return self.match.row.configuration.name if self.match is not None else ""

    @property
    def unmet(self) -> tuple[Condition, ...]:
        """Conditions of the release, of this configuration and of this value that do not hold."""
        own = self._own_condition()
        return (*self.judgement.unmet, *([own] if own is not None else []))

    @property
    def decision(self) -> Decision:
        allows = self.judgement.decision is Decision.ALLOW and not self.unmet
        return Decision.ALLOW if allows else Decision.DENY

    @property
    def sentence(self) -> str:
        """By whose word the value is this configuration's, then the decision about it."""
        said = "Nobody published this value; published files give it."
        if self.match is not None:
            said = self.match.said_by.sentence
        own = self._own_condition()
        return f"{said} {self.judgement.said}" if own is None else f"{said} {own.sentence} Deny."

    @property
    def said_by(self) -> SaidBy:
        """What publisher, published files and rebuilt files say about the value for this configuration."""
        if self.match is not None:
            return self.match.said_by
        return SaidBy(Says.NOTHING, Says.THIS, Says.NOTHING)

    @property
    def coverage(self) -> tuple[str, ...] | None:
        """What the value binds; None when the published files are not known to give it."""
        found = self.judgement.measurement
        return tuple(sorted(found.coverage)) if found is not None and found.hex == self.value else None

    @property
    def cpu_signature(self) -> int | None:
        """CPUID_Fn00000001_EAX; None of a CPU type that has no known one."""
        return signature_of(self.wanted.launch.vcpu_type)

    @property
    def vcpu_types(self) -> tuple[str, ...]:
        """Every name of the CPU signature: they give the same measurement."""
        return names_of_signature(self.wanted.launch.vcpu_type)

    @property
    def differs_in(self) -> tuple[str, ...]:
        """Where it is another than the published configuration that it is likest; empty when it is that one."""
        if self.match is not None:
            return ()
        published = published_configurations(self.view.release)
        return min((differing_fields(self.wanted, entry, self.vcpu_types) for entry in published), key=len, default=())

    def _own_condition(self) -> Condition | None:
        """What speaks against this value although its release and configuration may be allowed."""
        key, found = "value-given-by-published-files", self.judgement.measurement
        if found is None:
            return Condition(key, ConditionState.UNKNOWN, "Nothing could be computed for this configuration.")
        if found.hex != self.value:
            return Condition(key, ConditionState.UNMET, "The published files give another value.")
        if self.match is not None and not self.match.said_by.agree:
            what = "Publisher and rebuilders do not both name this value."
            return Condition("value-published-and-rebuilt", ConditionState.UNMET, what)
        return None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What gives a measurement, of ``expected`` or of everybody; ``more`` says that not everything is listed."""

    value: str
    expected: Expected | None
    givers: tuple[Giver, ...]
    more: bool

    @property
    def unmet(self) -> tuple[Condition, ...]:
        """Why nothing is allowed; empty when one configuration of the expected project is.

        One is enough: whatever gives this value started the same bytes. But whose they are only the asker can say.
        """
        if self.expected is None:
            return (Condition("expected-project-named", ConditionState.UNMET, NOT_NAMED),)
        if any(entry.decision is Decision.ALLOW for entry in self.givers):
            return ()
        what = "No configuration listed here is allowed."
        if self.more:
            what += " More gives this value than is listed: name a release by &tag=TAG."
        return (Condition("configuration-allowed", ConditionState.UNMET, what),)

    @property
    def decision(self) -> Decision:
        return Decision.DENY if self.unmet else Decision.ALLOW


def look_up(value: str, asked: Expected | None, *, publishers_of: PublishersOf) -> Lookup:
    """What gives ``value``, 96 hex characters, of what was asked for, in a constant number of statements.

    What is said of a listed release is the same whatever is not listed.
    """
    giving = _giving(value, asked)
    of_each = MOST_OF_A_PROJECT if asked is None else MOST_RELEASES
    listed = fair_share(giving, of_each=of_each, in_all=MOST_RELEASES)
    views = _views(listed, publishers_of)
    published = [_published(value, match) for match in matches_of(value, list(views.values()))]
    followed = _followed(value, measurement_index.hits(value, listed), views, published)
    by_release: dict[int, list[Giver]] = {pk: [] for pk in listed}
    for giver in itertools.chain(published, followed):
        by_release[giver.view.release.pk].append(giver)
    more = len(giving) > len(listed) or any(len(own) > MOST_OF_A_RELEASE for own in by_release.values())
    givers = tuple(giver for own in by_release.values() for giver in own[:MOST_OF_A_RELEASE])
    return Lookup(value, asked, givers, more)


def _giving(value: str, asked: Expected | None) -> list[tuple[int, int]]:
    """Release and project of everything that may give ``value``, the newest releases first. Two statements."""
    stated = configurations_giving(value)
    indexed = measurement_index.rows_of(value)
    if asked is not None:
        stated = stated.filter(release__project=asked.project)
        indexed = indexed.filter(series__release__project=asked.project)
        if asked.tag is not None:
            stated = stated.filter(release__tag=asked.tag)
            indexed = indexed.filter(series__release__tag=asked.tag)
    found = set(stated.values_list("release", "release__project"))
    found.update(indexed.values_list("series__release", "series__release__project"))
    return sorted(found, reverse=True)


def _views(releases: Sequence[int], publishers_of: PublishersOf) -> dict[int, ReleaseView]:
    """In the same order."""
    rows = Release.objects.with_evidence(attempts=False).filter(pk__in=releases).order_by("-pk")
    publishers = publishers_of(list(rows))
    return {row.pk: view_of(row, publishers[row.pk]) for row in rows}


def _published(value: str, match: Match) -> Giver:
    row: MeasurementRow = match.row
    stored = row.configuration
    wanted = WantedConfiguration(launch_of(stored), stored.command_line or "")
    if stored.command_line is None and stored.boot_mode == BootMode.DIRECT_KERNEL:
        unknown = CommandLineUnknown("nothing published names the command line", where=stored.name)
        return Giver(value, match.view, wanted, match, judged(match.view, unknown))
    return Giver(value, match.view, wanted, match, judged(match.view, wanted))


def _followed(
    value: str, hits: Sequence[IndexHit], views: dict[int, ReleaseView], published: Sequence[Giver]
) -> Iterator[Giver]:
    """What the index says beyond the published configurations, of releases that were read."""
    known = {(entry.view.release.pk, _same(entry.wanted)) for entry in published}
    for hit in hits:
        view = views.get(hit.release_id)
        if view is not None and (hit.release_id, _same(hit.wanted)) not in known:
            wanted = _as_published(hit, view)
            yield Giver(value, view, wanted, None, judged(view, wanted))


def _as_published(hit: IndexHit, view: ReleaseView) -> WantedConfiguration:
    """Under the publisher's name for the CPU signature, so that the publisher's own value is held against it."""
    own = (row.configuration.vcpu_type for row in view.measurements)
    name = next((name for name in own if name in hit.vcpu_types), hit.vcpu_types[0])
    return replace(hit.wanted, launch=replace(hit.wanted.launch, vcpu_type=name))


def _same(wanted: WantedConfiguration) -> tuple[object, ...]:
    """Equal for configurations that differ in nothing but the name of their CPU's signature."""
    launch = wanted.launch
    cpu = signature_of(launch.vcpu_type) or launch.vcpu_type
    return (launch.boot_mode, launch.vcpus, cpu, launch.guest_features, launch.vmm, wanted.command_line)
