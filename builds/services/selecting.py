"""The configuration selector of a release's page: its form, the answer for what was asked, and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from builds.domain.configuration import (
    VMMS,
    ConfigurationJudgement,
    PublishedConfiguration,
    WantedConfiguration,
)
from builds.domain.configuration_form import Asked, UnusableValue, read_form
from builds.domain.coverage import covered_parts
from builds.domain.evidence import MeasurementEvidence
from builds.domain.launch import MAX_VCPUS
from builds.domain.marks import Marked
from builds.domain.printable import one_line
from builds.domain.recipe import MAX_COMMAND_LINE_BYTES
from builds.domain.roles import BootMode, Role
from builds.models import Release
from builds.pipeline.measurement import vcpu_types, vcpu_types_by_signature
from builds.services.configurations import judged, published_configurations
from builds.services.evidence import ReleaseView
from builds.services.shell_lines import measured_files, measuring_line_of

ANCHOR = "configuration"
_BOOT_MODES: Mapping[str, str] = {
    BootMode.DIRECT_KERNEL: "kernel and initrd given to the VM",
    BootMode.UEFI_DISK: "firmware boots the disk",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of a list to choose from."""

    value: str
    label: str
    selected: bool


@dataclass(frozen=True, slots=True)
class Field:
    """What stands in a field, and why it cannot be used (None when it can); ``choices`` where it is chosen."""

    name: str
    label: str
    value: str
    problem: UnusableValue | None
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedLink:
    """A published configuration, where its own answer is shown, and whether that is shown now."""

    name: str
    address: str
    is_shown: bool


@dataclass(frozen=True, slots=True)
class ConfigurationSelector:
    """All that the selector shows; see ``selector_of``."""

    published: tuple[PublishedLink, ...]
    problem: UnusableValue | None
    """Why the named published configuration is not the one that is shown; None when it is, or none was named."""
    fields: tuple[Field, ...]
    command_line: Field
    wanted: WantedConfiguration | UnusableValue
    """What the form asks for, or the first thing that is wrong with it."""
    judgement: ConfigurationJudgement
    coverage: tuple[tuple[str, Marked], ...]
    """Every part with whether the value binds it; empty when there is no value."""
    not_covered: tuple[Mapping[str, str], ...]
    """What no launch measurement binds, as the recipe says: ``what``, and where to ``check`` it."""
    commands: tuple[str, ...]
    """Shell lines that give the same value from the published files; empty when there is no value."""
    most_command_line_bytes: int = MAX_COMMAND_LINE_BYTES

    @property
    def is_vouched_for(self) -> bool:
        """Whether who asks answers for the command line."""
        return isinstance(self.wanted, WantedConfiguration) and self.wanted.is_vouched_for

    @property
    def hides_characters(self) -> bool:
        """Whether the command line holds what cannot be seen or turns the writing; the commands show it."""
        return not self.command_line.value.isprintable()


def selector_of(view: ReleaseView, given: Mapping[str, str]) -> ConfigurationSelector:
    """The selector for a form as it was sent; an empty one asks for the first published configuration.

    ``configuration`` names the published one whose values stand in fields that are not given. Makes no query
    besides the view's own.
    """
    release = view.release
    published = published_configurations(release)
    name = given.get("configuration", "")
    base = next((entry for entry in published if entry.name == name), published[0] if published else None)
    asked = read_form(given, base, vcpu_types())
    problem = None
    if name and (base is None or base.name != name):
        what = f"there is no published configuration {name[:80]!r}"
        problem = UnusableValue(what, where=ANCHOR, todo="Choose one of those that are named here.")
    wanted = problem or asked.outcome
    judgement = judged(view, wanted)
    return ConfigurationSelector(
        published=tuple(_link(release, entry, wanted) for entry in published),
        problem=problem,
        fields=_fields(asked, base),
        command_line=_field(asked, "command_line", "Kernel command line"),
        wanted=wanted,
        judgement=judgement,
        coverage=_coverage(view, judgement),
        not_covered=_not_covered(release, base),
        commands=_commands(release, wanted) if judgement.measurement is not None else (),
    )


def address_of(release: Release, wanted: WantedConfiguration) -> str:
    """Where the release's page answers for a configuration."""
    return f"{release.get_absolute_url()}?{urlencode(wanted.parameters)}#{ANCHOR}"


def _link(
    release: Release, entry: PublishedConfiguration, wanted: WantedConfiguration | UnusableValue
) -> PublishedLink:
    address = f"{release.get_absolute_url()}?{urlencode({'configuration': entry.name})}#{ANCHOR}"
    return PublishedLink(entry.name, address, isinstance(wanted, WantedConfiguration) and entry.is_for(wanted))


def _fields(asked: Asked, base: PublishedConfiguration | None) -> tuple[Field, ...]:
    return (
        _field(asked, "boot_mode", "Boots", _choices(_BOOT_MODES, asked.values["boot_mode"])),
        _field(asked, "vcpus", f"vCPUs (1 to {MAX_VCPUS})"),
        _field(asked, "vcpu_type", "vCPU type (names that measure the same)", _vcpu_choices(asked, base)),
        _field(asked, "guest_features", "Guest features"),
        _field(asked, "vmm", "VMM", _choices({vmm: vmm for vmm in VMMS}, asked.values["vmm"])),
    )


def _field(asked: Asked, name: str, label: str, choices: tuple[Choice, ...] = ()) -> Field:
    return Field(name, label, asked.values[name], asked.problems.get(name), choices)


def _choices(labels: Mapping[str, str], current: str) -> tuple[Choice, ...]:
    """The known values; one that was sent and is none of them stays selected, so that nothing is changed silently."""
    found = tuple(Choice(value, label, value == current) for value, label in labels.items())
    if current in labels:
        return found
    return (*found, Choice(current, f"{one_line(current, 80)} (not known)", selected=True))


def _vcpu_choices(asked: Asked, base: PublishedConfiguration | None) -> tuple[Choice, ...]:
    """One entry for each CPU signature, with all names that share it; its value is the name that is in use."""
    current = asked.values["vcpu_type"]
    preferred = [current, *([base.launch.vcpu_type] if base is not None else [])]
    labels = {
        next((name for name in preferred if name in names), names[0]): ", ".join(names)
        for names in vcpu_types_by_signature().values()
    }
    return _choices(labels, current)


def _coverage(view: ReleaseView, judgement: ConfigurationJudgement) -> tuple[tuple[str, Marked], ...]:
    measurement = judgement.measurement
    if measurement is None:
        return ()
    inside = next((row.evidence.katana_inside_initrd for row in view.measurements), None)
    evidence = MeasurementEvidence(
        configuration=ANCHOR,
        boot_mode=measurement.boot_mode,
        published=None,
        recomputed=measurement.hex,
        rebuilt=None,
        coverage=measurement.coverage,
        katana_inside_initrd=inside,
    )
    return tuple(covered_parts(evidence))


def _not_covered(release: Release, base: PublishedConfiguration | None) -> tuple[Mapping[str, str], ...]:
    rows = release.launch_configurations.all()
    return tuple(entry for row in rows if base is not None and row.name == base.name for entry in row.not_covered)


def _commands(release: Release, wanted: WantedConfiguration | UnusableValue) -> tuple[str, ...]:
    """Lines for a shell where the published files lie: what unpacks them, then sev-snp-measure.

    None when a file that is measured is not among the components.
    """
    if isinstance(wanted, UnusableValue):
        return ()
    files = {Role(component.role): component for component in release.components.all()}
    line = measuring_line_of(wanted.launch, wanted.command_line, files)
    if line is None:
        return ()
    return (*(step for file in measured_files(wanted.launch, files) for step in file.unpack), line)
