"""What each word of a verdict means, in one place: pages, legends and the tests of the documents read it from here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import ConditionState
from builds.domain.coverage import Coverage
from builds.domain.evidence import AttestationState, MeasurementState
from builds.domain.lifecycle import RunState
from builds.domain.origins import OriginKind
from builds.domain.verdict import Decision

type State = (
    RunState | RebuildOutcome | AttestationState | MeasurementState | Coverage | ConditionState | Decision | OriginKind
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """One word: where the page of meanings explains it, what it says, and what it does not prove ("" if nothing)."""

    anchor: str
    word: str
    state: State | None
    """What its shape and colour follow from; None for the names of conditions, which have none."""
    means: str
    proves_not: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """One question with the words that answer it; axes are never mixed into one word."""

    anchor: str
    title: str
    asks: str
    words: tuple[Meaning, ...]


def _word(state: State, means: str, proves_not: str = "", *, anchor: str = "") -> Meaning:
    return Meaning(anchor or state.value, state.value, state, means, proves_not)


def _condition(key: str, met_when: str, proves_not: str) -> Meaning:
    return Meaning(key, key, None, met_when, proves_not)


_DECISION = Axis(
    "decision",
    "Decision",
    "Do all conditions hold? The one word that a script should act on.",
    (
        _word(
            Decision.ALLOW,
            "Every condition below is met.",
            "That the software is free of faults or of bad intent: it is what its public source says, and no more.",
        ),
        _word(
            Decision.DENY,
            "At least one condition is unmet or unknown; each of them is named beside it.",
            "That anything is wrong: what nobody has looked at yet is denied too. Read which condition is open.",
        ),
    ),
)
_CONDITIONS = Axis(
    "conditions",
    "Conditions",
    "What has to hold for the decision to be allow. Each is met, unmet or unknown by itself.",
    (
        _condition(
            "files-match-manifest",
            "every published file is named by the manifest and hashes to it, the documents agree with each other,"
            " source_date_epoch is the commit's time, and nothing changed since it was first seen, which a followed"
            " repository must have let us look at within a day",
            "Who wrote the manifest: whoever can replace the files can replace it too.",
        ),
        _condition(
            "attested-by-expected-publisher",
            "the expected publisher attested every component for this commit",
            "That the workflow is honest: it says which workflow ran, from which commit.",
        ),
        _condition(
            "reproduced-by-enough-operators",
            "as many distinct operators as the project's policy wants (2 unless set) reproduced every component, and"
            " none contradicts",
            "That the source is good; nor that operators did not copy each other, for which they answer by name.",
        ),
        _condition(
            "measurements-recompute",
            "each launch measurement is the same as published, recomputed from the published files, and computed from"
            " the rebuilt ones",
            "That a machine was started with it: only a report that the processor signed says that.",
        ),
        _condition(
            "measurement-covers-what-boots",
            "firmware, kernel, initrd and command line are bound by the measurement, and the rebuilt initrd holds the"
            " rebuilt binary",
            "Anything about what is given after boot: arguments, chain configuration, data disks, guest policy.",
        ),
        _condition(
            "opaque-inputs-accepted",
            "every opaque input is accepted by digest in the project's policy",
            "That an accepted input is harmless: somebody gave a public, dated reason to take it.",
        ),
    ),
)
_CONDITION_STATES = Axis(
    "condition-states",
    "How a condition stands",
    "Does it hold? Only met allows.",
    (
        _word(ConditionState.MET, "Evidence shows that it holds."),
        _word(ConditionState.UNMET, "Evidence speaks against it."),
        _word(
            ConditionState.UNKNOWN,
            "Nothing speaks against it, and nothing shows that it holds. It denies.",
            "That something is wrong, or that nothing is.",
        ),
    ),
)
_RUN = Axis(
    "run",
    "A rebuild's run",
    "How far did one attempt get? It says nothing of bytes: only a run that succeeded has an outcome.",
    (
        _word(RunState.QUEUED, "It waits for a rebuilder.", "Anything: there is no evidence yet."),
        _word(RunState.RUNNING, "A rebuilder works at it and says so every few seconds.", "Anything yet."),
        _word(
            RunState.SUCCEEDED,
            "It came to its end and made files. Whether they are the published ones is its outcome.",
            "That the bytes are the same.",
        ),
        _word(
            RunState.FAILED,
            "It stopped before it had made every file; the log and the named error say where.",
            "That the release is bad. Unsuccessful is not an attack: a failed rebuild is no evidence either way.",
        ),
        _word(RunState.CANCELLED, "Somebody stopped it.", "Anything about the release."),
        _word(
            RunState.LOST,
            "Its rebuilder fell silent and the portal gave it up; it is queued again.",
            "Anything about the release.",
        ),
    ),
)
_OUTCOME = Axis(
    "outcome",
    "A rebuild's outcome",
    "Are the rebuilt bytes the published ones? For each component, and for all of them.",
    (
        _word(
            RebuildOutcome.REPRODUCED,
            "The rebuilt bytes have the digest that the manifest names and that the published file has.",
            "That they were made from source: bytes that were only copied from an input read “same input”.",
        ),
        _word(
            RebuildOutcome.MISMATCHED,
            "The rebuilt bytes are others than the published ones.",
            "Intent: a clock, a path or a newer compiler does it too. The first difference is shown, to judge by.",
        ),
        _word(RebuildOutcome.MISSING, "The rebuild succeeded and did not make this component.", "Why it did not."),
    ),
)
_ORIGIN = Axis(
    "origin",
    "Where rebuilt bytes come from",
    "Was it built, or taken as it is? Reproducing is not the same as building from source.",
    (
        _word(OriginKind.BUILT, "No input has these bytes: this rebuild made them."),
        _word(
            OriginKind.PACKAGE,
            "A file of a locked package whose digest a signed index of the distribution names.",
            "That the distribution built it from its source.",
        ),
        _word(OriginKind.SOURCE, "A readable text file of the source tree."),
        _word(
            OriginKind.OPAQUE,
            "A binary in the source tree, a download, a base image that is pulled, or a file of a package that no"
            " signed index names. It denies unless the policy accepts its digest.",
            "That it is bad: that nobody here has rebuilt it.",
        ),
    ),
)
_ATTESTATION = Axis(
    "attestation",
    "Attestations",
    "Who published it, as far as signatures say? For each component.",
    (
        _word(
            AttestationState.VERIFIED,
            "a bundle holds, covers this file (or the container it came in, which is then named), and meets every"
            " clause of the policy, the release's commit among them",
            "What the workflow did: that is for rebuilds to show.",
        ),
        _word(
            AttestationState.WRONG_IDENTITY,
            "the signature is valid, and the signer is not the expected one. An attack until it is explained. The"
            " expected publisher's bundle of another commit is one too, and told apart: a file that did not change"
            " between releases has bundles of each",
            "Who is right: the policy may name the wrong workflow.",
        ),
        _word(
            AttestationState.REJECTED,
            "a bundle was there and does not hold: signature, certificate, log, time, statement or subject, or another"
            " kind of statement than the policy accepts; the reason says which",
        ),
        _word(
            AttestationState.UNREADABLE,
            "a file that claims to be a bundle cannot be read, or is of a kind nobody here can check",
            "That somebody tampered with it.",
        ),
        _word(
            AttestationState.ABSENT,
            "every source was asked, answered, and holds none; the page says who was asked and when",
            "That none exists anywhere.",
        ),
        _word(
            AttestationState.UNCHECKED,
            "nobody was asked, a source gave no answer (the page says why, and when a rate limit ends), or the policy"
            " does not say whom it expects",
            "Anything.",
        ),
    ),
)
_MEASUREMENT = Axis(
    "measurement",
    "Launch measurement",
    "Is the value that the processor will report known, and the same three ways: as published, recomputed from the"
    " published files, and computed from the rebuilt ones?",
    (
        _word(
            MeasurementState.MATCHES,
            "All three are known and equal.",
            "What the measurement covers: read that beside it.",
        ),
        _word(MeasurementState.DIFFERS, "Two known values are unequal.", "Which of the two is right."),
        _word(
            MeasurementState.UNKNOWN,
            "One of the three is not known, and the others do not differ.",
            "That they would be equal.",
            anchor="measurement-unknown",
        ),
    ),
)
_COVERAGE = Axis(
    "coverage",
    "What a measurement covers",
    "Would another file here give another measurement?",
    (
        _word(Coverage.COVERED, "Yes: the measurement changes with it, directly or inside a covered part."),
        _word(
            Coverage.NOT_COVERED,
            "No: another file in its place gives the very same measurement, and a matching report says nothing of it."
            " A firmware without an SNP_KERNEL_HASHES section leaves kernel, initrd and command line so.",
            anchor="not-covered",
        ),
        _word(Coverage.UNKNOWN, "The measurement could not be recomputed here.", anchor="coverage-unknown"),
        _word(
            Coverage.NOT_USED,
            "This configuration does not boot it, so that its measurement says nothing of it: never a good mark.",
            anchor="not-used",
        ),
    ),
)

AXES = (
    _DECISION,
    _CONDITIONS,
    _CONDITION_STATES,
    _OUTCOME,
    _RUN,
    _ORIGIN,
    _ATTESTATION,
    _MEASUREMENT,
    _COVERAGE,
)
LEGEND = (_DECISION, _ATTESTATION, _OUTCOME, _MEASUREMENT)
"""The axes that lists of releases show."""


def every_word() -> Iterator[Meaning]:
    for axis in AXES:
        yield from axis.words
