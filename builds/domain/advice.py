"""What mends each unmet condition of a verdict, who can do it, and the very lines to paste."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from builds.domain import advice_lines as lines
from builds.domain.conditions import MOST_LISTED, Condition, ConditionState
from builds.domain.consensus import contradicting, tally_of
from builds.domain.evidence import AttestationState, MeasurementEvidence, MeasurementState, OpaqueInput, ReleaseEvidence
from builds.domain.likeness import listed
from builds.domain.roles import BootMode, Role
from builds.domain.sealing import LaunchFacts
from builds.domain.suspicion import agreed_otherwise, replaced_files, suspect_files


class Mender(StrEnum):
    """Who can mend something."""

    PUBLISHER = "publisher"
    OPERATORS = "operators"
    ADMINISTRATOR = "portal administrator"


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do: by whom, what in sentences, and the lines to paste (None where there are none)."""

    mender: Mender
    what: str
    snippet: lines.Snippet | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """The real names that advice is given with. ``portal`` is this portal's address without a slash at its end."""

    project: str
    tag: str
    portal: str
    files: Mapping[Role, str] = field(default_factory=dict)
    """The published file of each component; "" or absent where none was found."""
    launches: tuple[LaunchFacts, ...] = ()
    document: str = "manifest.json"
    is_buildable: bool = True
    """Whether there is a recipe, and one with stages."""
    repository: str = ""
    """``OWNER/NAME`` when a repository is followed."""
    against: tuple[str, ...] = ()
    """The rebuild of each counted result that contradicts."""


def advise(condition: Condition, evidence: ReleaseEvidence, names: Names) -> tuple[Advice, ...]:
    """What to do about one condition; for one that is met, what to keep doing. Never empty."""
    if condition.state is ConditionState.MET:
        return (Advice(Mender.PUBLISHER, _KEEP[condition.key]),)
    return tuple(_ADVISERS[condition.key](evidence, names)) or (Advice(Mender.PUBLISHER, condition.sentence),)


_KEEP = {
    "files-match-manifest": "Keep writing the manifest from the finished files, and never replace a published one.",
    "attested-by-expected-publisher": "Keep the attestation step in the workflow, for every file that is published.",
    "reproduced-by-enough-operators": "Keep every material pinned, and the archive of materials within reach.",
    "measurements-recompute": "Keep measuring the files that are published, after the last of them is written.",
    "measurement-covers-what-boots": "Keep the firmware that has an SNP_KERNEL_HASHES section.",
    "opaque-inputs-accepted": "Keep building everything from source or from locked packages of a signed archive.",
}


def _publisher(what: str, snippet: lines.Snippet | None = None) -> Advice:
    return Advice(Mender.PUBLISHER, what, snippet)


def _operators(what: str, names: Names) -> Advice:
    return Advice(Mender.OPERATORS, what, lines.rebuild_command(names.project, names.tag, names.portal))


def _administrator(what: str, snippet: lines.Snippet | None = None) -> Advice:
    return Advice(Mender.ADMINISTRATOR, what, snippet)


def _files(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    if evidence.changes:
        yield _publisher(
            "Never replace or remove a published file, and never move a tag: publish new files under a new tag."
        )
        yield _administrator(
            "When you know why it changed and that it is harmless, say so; reason and name stay public for good.",
            lines.explain_changes(names.project, names.tag),
        )
    if evidence.contradictions:
        yield from _contradicting(evidence, names)
    if evidence.absent:
        absent = " ".join(evidence.absent[:MOST_LISTED])
        yield _publisher(f"Publish every file that the documents name, by its own name: {absent}")
    unnamed = tuple(component for component in evidence.components if component.claimed is None)
    if unnamed or not evidence.components:
        roles = listed([component.role.value for component in unnamed]) or "its components"
        yield _publisher(
            f"Name {roles} in {names.document}, by the digest of the finished files.",
            lines.manifest_components(unnamed),
        )
    if evidence.unwatched:
        yield _administrator(
            "Let the portal look at the repository again: see what GitHub answers, and give it a token if the limit of"
            " questions is what stops it (TEE_PORTAL_GITHUB_TOKEN).",
            lines.synchronise(names.repository),
        )


def _contradicting(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    """What the files hash to is no line to paste where rebuilds say that the document was right."""
    if replaced := replaced_files(evidence):
        yield _publisher(
            f"Whoever rebuilt {listed([role.value for role in replaced])} got what {names.document} says, not the"
            " published file: it was replaced or damaged after the document was written. Treat it as an attack until"
            " you can say what happened: take the file down, warn in public whoever runs it, and publish what the"
            " release workflow builds under a new tag."
        )
        return
    yield _publisher(
        f"Find out first which is wrong, {names.document} or a file: take the files for replaced until you know. Only"
        " if they are the ones you meant, cut a new release whose document is written from them. This is what they"
        " hash to:",
        lines.manifest_components(evidence.components),
    )
    if not evidence.counted:
        yield _operators("A rebuild tells which of the two the source code gives.", names)


_TO_ATTEST = (AttestationState.ABSENT, AttestationState.REJECTED, AttestationState.UNREADABLE)


def _attested(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    states = evidence.attestation_states
    if wrong := _roles(states, AttestationState.WRONG_IDENTITY):
        yield _publisher(
            f"Somebody else than the expected workflow signed {listed(wrong)}. Treat it as an attack until you can say"
            " who that was. If it was you, from another workflow, say so in public and publish from the expected one."
        )
        yield _administrator(
            "If the publisher moved, and you have it from the publisher by another way, change the expected publisher"
            " on the administration page; every finding is judged anew."
        )
    lacking, suspect = _roles(states, *_TO_ATTEST), suspect_files(evidence)
    if doubtful := [role for role in lacking if role in suspect]:
        yield _publisher(
            f"Do not attest {listed(doubtful)} as published: it is not what the documents or the rebuilds say, and a"
            " signature would vouch for it. Say first where it comes from."
        )
    if lacking := [role for role in lacking if role not in suspect]:
        yield _publisher(
            f"Attest {listed(lacking)} in the workflow that builds them, after the last file is written. An attestation"
            " of the same bytes may also be made later, by that workflow at this commit.",
            lines.attestation_step([names.files.get(role, "") for role in lacking]),
        )
    if unchecked := _roles(states, AttestationState.UNCHECKED):
        yield _administrator(
            f"Nobody could check {listed(unchecked)}: say on the administration page whom this project expects"
            " (repository and workflow), and let GitHub be asked.",
            lines.follow(names.repository),
        )
    if not states:
        yield _publisher("Publish the components that attestations could be about.")


def _roles(states: Mapping[Role, AttestationState], *wanted: AttestationState) -> list[Role]:
    return [role for role in Role if states.get(role) in wanted]


def _reproduced(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    against, tally = contradicting(evidence.counted), tally_of(evidence)
    if not names.is_buildable:
        yield _publisher(
            "Put a recipe that builds at the top of the source tree; without stages nobody can rebuild it. This is its"
            " shape, to be filled with your Dockerfiles and package groups:",
            lines.recipe(names.project, [role for role in Role if role in names.files]),
        )
    if other := agreed_otherwise(evidence):
        yield _publisher(
            f"All {tally.counted} operators got the same bytes of {listed([role.value for role in other])}, and others"
            " than were published: the build repeats itself, and the published file did not come from it. Find out what"
            " made it. Treat it as replaced until you can say so: take it down, warn in public whoever runs it, and"
            " publish what the release workflow builds under a new tag.",
            lines.rebuild_command(names.project, names.tag, names.portal),
        )
    elif against:
        yield _publisher(
            f"Compare what {listed([result.operator for result in against])} got with yours, file by file: the first"
            " difference names the step that is not deterministic (a time, a path, an order, a version that is not"
            " pinned).",
            lines.rebuild_command(names.project, names.tag, names.portal),
        )
    if against:
        yield _administrator(
            "Only if a result is known to be wrong for a reason outside the release: set it aside, with a public"
            " reason. The portal asks another operator by itself.",
            lines.set_aside(names.against[:MOST_LISTED]),
        )
    if tally.reproduced < tally.needed or against:
        lacking = max(tally.needed - tally.reproduced, 1)
        yield _operators(
            f"{lacking} more {'operator has' if lacking == 1 else 'operators have'} to rebuild it with the same bytes"
            f" ({tally.words}). One command, on one's own machine with Docker:",
            names,
        )


def _measured(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    if not evidence.measurements:
        yield from _unpublished(evidence, names)
        return
    apart = [entry for entry in evidence.measurements if entry.state is MeasurementState.DIFFERS]
    differing = [entry.configuration for entry in apart if not _is_own(entry)]
    if own := [entry.configuration for entry in apart if _is_own(entry)]:
        yield _publisher(
            f"The published files give the published value for {listed(own)}, and rebuilt files another: it is the"
            " value of files that nobody rebuilt. Mend what keeps the components from being reproduced; the value"
            " follows from them."
        )
    if differing:
        yield _publisher(
            f"The value for {listed(differing)} is not what the files give. Measure the finished files with the values"
            " that are published, and publish what comes out under a new tag:",
            lines.measure([launch for launch in names.launches if launch.name in differing], names.files),
        )
    if any(entry.published is None for entry in evidence.measurements):
        yield _publish_measurement(names)
    if any(entry.recomputed is None for entry in evidence.measurements):
        yield _recomputable(names)
    if any(entry.rebuilt is None for entry in evidence.measurements):
        yield _operators(
            "A rebuild that counts computes the measurement from the rebuilt files; none has yet, for every value.",
            names,
        )


def _is_own(entry: MeasurementEvidence) -> bool:
    """Whether it is what the published files give, whatever rebuilt ones do."""
    return entry.published is not None and entry.published == entry.recomputed


def _unpublished(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    if evidence.unplaced:
        yield _publisher(
            "A measurement was published, and nothing says what it was computed for. Name the launch configuration in"
            " the recipe; importing the release again places it.",
            lines.launch_configuration(),
        )
    yield _publish_measurement(names)


def _publish_measurement(names: Names) -> Advice:
    what = "Publish expected-measurement.json with what the value was computed for:"
    return _publisher(what, lines.expected_measurement(names.launches, names.files))


def _recomputable(names: Names) -> Advice:
    return _publisher(
        "Publish firmware, kernel, initrd and command line as they were measured: without one of them nobody can"
        " recompute the value, nor say what it covers.",
        lines.measure(names.launches, names.files),
    )


def _covered(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    if not evidence.measurements:
        yield from _unpublished(evidence, names)
    if any(not entry.coverage for entry in evidence.measurements):
        yield _recomputable(names)
    if any(entry.boot_mode is BootMode.UEFI_DISK for entry in evidence.measurements):
        yield _publisher(
            "A measurement of a boot from disk covers the firmware only, whatever is on the disk. Publish a"
            " configuration that boots the kernel directly, and measure that.",
            lines.launch_configuration(),
        )
    if any(_lacks_kernel_hashes(entry) for entry in evidence.measurements):
        yield _publisher(
            "The firmware has no SNP_KERNEL_HASHES section, so that kernel, initrd and command line stay out of the"
            " measurement. Build edk2's OvmfPkg/AmdSev/AmdSevX64.dsc, which has it, start QEMU with kernel-hashes=on,"
            " and let the workflow stop when it is lacking:",
            lines.kernel_hashes_step(),
        )
    if any(entry.covers_what_it_boots and entry.katana_inside_initrd is None for entry in evidence.measurements):
        yield _operators(
            "A rebuild that reproduces katana and initrd shows whether the covered initrd holds the binary; none that"
            " counts has.",
            names,
        )
        yield _publisher(
            "If rebuilds reproduced both already: put the very bytes of the published katana into the initrd."
        )


def _lacks_kernel_hashes(entry: MeasurementEvidence) -> bool:
    partly = bool(entry.coverage) and not entry.covers_what_it_boots
    return partly and entry.boot_mode is BootMode.DIRECT_KERNEL


def _opaque(evidence: ReleaseEvidence, names: Names) -> Iterator[Advice]:
    if open_inputs := _open_inputs(evidence):
        places = listed([entry.place for entry in open_inputs], MOST_LISTED)
        yield _publisher(
            f"Build it from source in a stage of the recipe, or take it from a locked package of a signed archive:"
            f" {places}."
        )
        yield _administrator(
            "Or accept a digest, with a reason that everybody can read. It counts as accepted then, not as rebuilt.",
            lines.accept_opaque(names.project, open_inputs[:MOST_LISTED]),
        )
    if evidence.base_unnamed:
        yield _administrator(
            "Import the release again, so that the base image that its recipe pulls becomes known.",
            lines.import_again(names.project, names.tag),
        )
    if not evidence.counted:
        yield _operators("Where the bytes come from is known after a rebuild that counts.", names)


def _open_inputs(evidence: ReleaseEvidence) -> list[OpaqueInput]:
    every = {*evidence.embedded, *(entry for result in evidence.counted for entry in result.opaque)}
    accepted = evidence.policy.accepted_opaque
    return sorted(
        (entry for entry in every if entry.digest not in accepted), key=lambda entry: (entry.place, entry.digest)
    )


_ADVISERS: dict[str, Callable[[ReleaseEvidence, Names], Iterator[Advice]]] = {
    "files-match-manifest": _files,
    "attested-by-expected-publisher": _attested,
    "reproduced-by-enough-operators": _reproduced,
    "measurements-recompute": _measured,
    "measurement-covers-what-boots": _covered,
    "opaque-inputs-accepted": _opaque,
}
