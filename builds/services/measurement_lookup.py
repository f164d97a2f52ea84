"""What is known of a launch measurement: every configuration of a release that gives it, each with its decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from builds.domain.conditions import Condition, ConditionState
from builds.domain.configuration import ConfigurationJudgement, WantedConfiguration, differing_fields
from builds.domain.measurement_words import SaidBy, Says
from builds.domain.recipe import CommandLineUnknown
from builds.domain.roles import BootMode
from builds.domain.verdict import Decision
from builds.models import Release
from builds.pipeline.measurement import names_of_signature, signature_of
from builds.services import measurement_index
from builds.services.configurations import judged, launch_of, published_configurations
from builds.services.evidence import MeasurementRow, ReleaseView, view_of
from builds.services.measurement_index import IndexHit
from builds.services.measurement_page import Match, measurement_page
from builds.services.pages import PublishersOf

NOT_INDEXED = "not among the configurations indexed; this is not a mismatch"
MOST_GIVERS = 50
"""Configurations that one answer names, of the newest releases first."""


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
    """Everything that gives a measurement; ``more`` says that older releases do too, and are not listed."""

    value: str
    givers: tuple[Giver, ...]
    more: bool

    @property
    def decision(self) -> Decision:
        """One allowed configuration is enough: whatever gives this value started the same bytes."""
        return Decision.ALLOW if any(entry.decision is Decision.ALLOW for entry in self.givers) else Decision.DENY


def look_up(value: str, *, publishers_of: PublishersOf) -> Lookup:
    """Everything here that gives ``value``, 96 hex characters, in a constant number of statements."""
    page = measurement_page(value, publishers_of=publishers_of)
    hits = measurement_index.hits(value)
    givers = [_published(value, match) for match in page.matches]
    views = {entry.view.release.pk: entry.view for entry in givers}
    more = page.more
    if others := [pk for pk in dict.fromkeys(hit.release_id for hit in hits) if pk not in views]:
        more = more or len(others) > MOST_GIVERS
        views |= _views(others[:MOST_GIVERS], publishers_of)
    givers += _followed(value, hits, views, givers)
    givers.sort(key=lambda entry: -entry.view.release.pk)
    return Lookup(value, tuple(givers[:MOST_GIVERS]), more or len(givers) > MOST_GIVERS)


def _views(releases: Sequence[int], publishers_of: PublishersOf) -> dict[int, ReleaseView]:
    rows = list(Release.objects.with_evidence(attempts=False).filter(pk__in=releases))
    publishers = publishers_of(rows)
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
