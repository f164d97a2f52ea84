"""The API's shapes for launch measurements, and how each is filled."""

from __future__ import annotations

from typing import Annotated, Literal

from django.urls import reverse
from ninja import Schema
from pydantic import ConfigDict, Field

from builds.condition_schemas import ConditionOut, condition_out
from builds.domain.configuration import VOUCH, WantedConfiguration
from builds.domain.digest import sha256_text
from builds.domain.launch import MAX_VCPUS
from builds.domain.recipe import MAX_COMMAND_LINE_BYTES
from builds.domain.roles import Role
from builds.models import Release
from builds.pipeline.measurement import names_of_signature, signature_of
from builds.release_schemas import NotCoveredOut
from builds.services.evidence import ReleaseView
from builds.services.measurement_lookup import Giver, Lookup
from builds.services.search import Hit
from builds.services.selecting import ConfigurationSelector


class ConfigurationOut(Schema):
    """``vcpu_types`` are all names of one CPU signature (CPUID_Fn00000001_EAX): they give the same measurement."""

    boot_mode: str
    vcpus: int
    cpu_signature: str | None
    vcpu_types: list[str]
    guest_features: str
    vmm: str
    command_line: str


class ReleaseVerdictOut(Schema):
    """The release's own decision, whatever configuration it is started with; ``address`` says more."""

    decision: Literal["allow", "deny"]
    sentence: str
    address: str


_Said = Literal["this value", "another value", "this value and another", "nothing"]


class SaidByOut(Schema):
    """What each says of this configuration's value: ``nothing`` is not published, not computable or not rebuilt.

    ``this value and another`` is of operators who do not agree.
    """

    publisher: _Said
    published_files: _Said
    rebuilt_files: _Said


class GiverOut(Schema):
    """A configuration that gives the measurement; ``decision`` is about exactly this one.

    ``configuration_name`` is null and ``is_default`` false when nobody published this configuration: then
    ``differs_in`` names the fields in which it is another than the likest published one. That a configuration is
    published does not say that this value of it is: ``said_by`` does. ``coverage`` is null when the published files
    are not known to give the value.
    """

    project: str
    tag: str
    commit: str
    release: str
    page: str
    configuration_name: str | None
    is_default: bool
    differs_in: list[str]
    configuration: ConfigurationOut
    said_by: SaidByOut
    coverage: list[str] | None
    not_covered: list[NotCoveredOut]
    decision: Literal["allow", "deny"]
    unmet: list[ConditionOut]
    sentence: str
    verdict: ReleaseVerdictOut


class LookupOut(Schema):
    """``decision`` is ``allow`` when one configuration of the expected project that gives the measurement is allowed.

    Without an expected project it is ``deny``. ``unmet`` says why it is.
    """

    measurement: str
    decision: Literal["allow", "deny"]
    unmet: list[ConditionOut]
    given_by: list[GiverOut]
    more: bool


class NearMissOut(Schema):
    """A known value that is like the one that was asked for, and is another one."""

    kind: str
    value: str
    why: str
    page: str


class RecomputeHintOut(Schema):
    """Where any configuration of a known release is computed."""

    method: Literal["POST"]
    address: str


class NotIndexedOut(Schema):
    """What a 404 holds beside the members of every problem: the nearest known values, and where to compute others."""

    nearest: list[NearMissOut]
    recompute: RecomputeHintOut


class RecomputeIn(Schema):
    """What to compute for. What is not given stands as in ``configuration``, or the first that was published.

    ``vouch_for_command_line`` says that whoever asks answers for a command line that nobody published. Guest features
    that the release was not published with deny, whoever asks.
    """

    model_config = ConfigDict(extra="forbid")

    project: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9_-]+$")]
    tag: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
    configuration: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    boot_mode: Literal["direct_kernel", "uefi_disk"] | None = None
    vcpus: Annotated[int, Field(ge=1, le=MAX_VCPUS, strict=True)] | None = None
    vcpu_type: Annotated[str, Field(max_length=40)] | None = None
    guest_features: Annotated[str, Field(max_length=20, examples=["0x1"])] | None = None
    vmm: Literal["qemu", "ec2", "gce"] | None = None
    command_line: Annotated[str, Field(max_length=MAX_COMMAND_LINE_BYTES)] | None = None
    vouch_for_command_line: Annotated[bool, Field(strict=True)] = False

    @property
    def form(self) -> dict[str, str]:
        """The selector's fields that were given."""
        given = self.model_dump(exclude={"project", "tag", VOUCH}, exclude_none=True)
        vouched = {VOUCH: "true"} if self.vouch_for_command_line else {}
        return {**{name: str(value) for name, value in given.items()}, **vouched}


class InputsOut(Schema):
    """The published files that the value was computed from, by ``sha256:<hex>``; null where it does not use one."""

    ovmf: str | None
    kernel: str | None
    initrd: str | None


class RecomputedOut(Schema):
    """``decision`` is about exactly this configuration; ``commands`` compute the same from the published files."""

    project: str
    tag: str
    commit: str
    configuration: ConfigurationOut
    inputs: InputsOut
    measurement: str | None
    standing: str
    coverage: list[str]
    not_covered: list[NotCoveredOut]
    decision: Literal["allow", "deny"]
    unmet: list[ConditionOut]
    sentence: str
    commands: list[str]
    page: str


def lookup_out(found: Lookup, base: str) -> LookupOut:
    return LookupOut(
        measurement=found.value,
        decision=found.decision.value,
        unmet=[condition_out(condition) for condition in found.unmet],
        given_by=[_giver_out(entry, base) for entry in found.givers],
        more=found.more,
    )


def not_indexed_out(near: list[Hit], base: str) -> NotIndexedOut:
    return NotIndexedOut(
        nearest=[NearMissOut(kind=hit.kind, value=hit.title, why=hit.why, page=base + hit.address) for hit in near],
        recompute=RecomputeHintOut(method="POST", address=base + reverse("api-1:recompute")),
    )


def recomputed_out(
    view: ReleaseView, selector: ConfigurationSelector, wanted: WantedConfiguration, page: str
) -> RecomputedOut:
    judgement, release = selector.judgement, view.release
    found = judgement.measurement
    return RecomputedOut(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        configuration=_configuration_out(wanted),
        inputs=_inputs_out(release, found.coverage if found is not None else frozenset()),
        measurement=found.hex if found is not None else None,
        standing=judgement.standing.value,
        coverage=sorted(found.coverage) if found is not None else [],
        not_covered=[NotCoveredOut(**entry) for entry in selector.not_covered],
        decision=judgement.decision.value,
        unmet=[condition_out(condition) for condition in judgement.unmet],
        sentence=judgement.sentence,
        commands=list(selector.commands),
        page=page,
    )


def _giver_out(entry: Giver, base: str) -> GiverOut:
    release, verdict, said_by = entry.view.release, entry.view.verdict, entry.said_by
    names = [release.project.name, release.tag]
    return GiverOut(
        project=release.project.name,
        tag=release.tag,
        commit=release.commit,
        release=base + reverse("api-1:release", args=names),
        page=base + release.get_absolute_url(),
        configuration_name=entry.name or None,
        is_default=entry.match is not None,
        differs_in=list(entry.differs_in),
        configuration=_configuration_out(entry.wanted),
        said_by=SaidByOut(
            publisher=said_by.publisher.value,
            published_files=said_by.published_files.value,
            rebuilt_files=said_by.rebuilt_files.value,
        ),
        coverage=list(entry.coverage) if entry.coverage is not None else None,
        not_covered=_not_covered(entry),
        decision=entry.decision.value,
        unmet=[condition_out(condition) for condition in entry.unmet],
        sentence=entry.sentence,
        verdict=ReleaseVerdictOut(
            decision=verdict.decision.value,
            sentence=verdict.sentence,
            address=base + reverse("api-1:release_verdict", args=names),
        ),
    )


def _not_covered(entry: Giver) -> list[NotCoveredOut]:
    """What no measurement of this release binds, as its recipe says: of this configuration, else of all."""
    rows = [row.configuration for row in entry.view.measurements]
    own = [row for row in rows if row.name == entry.name] or rows
    said = {(item["what"], item["check"]): None for row in own for item in row.not_covered}
    return [NotCoveredOut(what=what, check=check) for what, check in said]


def _configuration_out(wanted: WantedConfiguration) -> ConfigurationOut:
    launch = wanted.launch
    signature = signature_of(launch.vcpu_type)
    return ConfigurationOut(
        boot_mode=launch.boot_mode.value,
        vcpus=launch.vcpus,
        cpu_signature=f"{signature:#010x}" if signature is not None else None,
        vcpu_types=list(names_of_signature(launch.vcpu_type)),
        guest_features=f"{launch.guest_features:#x}",
        vmm=launch.vmm,
        command_line=wanted.command_line,
    )


def _inputs_out(release: Release, used: frozenset[str]) -> InputsOut:
    known = {row.role: row.sha256 for row in release.components.all()}

    def name(role: Role) -> str | None:
        return sha256_text(known[role]) if role in used and known.get(role) else None

    return InputsOut(ovmf=name(Role.OVMF), kernel=name(Role.KERNEL), initrd=name(Role.INITRD))
