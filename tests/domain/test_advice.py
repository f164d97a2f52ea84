"""What mends each condition: every state of every condition has advice, and what is to be pasted can be read."""

from __future__ import annotations

import fnmatch
import json
import shlex
import subprocess
import tomllib
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.advice import Advice, Mender, Names, advise
from builds.domain.advice_lines import Snippet, measure
from builds.domain.comparison import ComponentComparison as Compared
from builds.domain.comparison import PublishedComponent, RebuildOutcome, Subject, compare_component
from builds.domain.conditions import Condition, ConditionState, conditions_of
from builds.domain.digest import Algorithm, Digest, FileDigests
from builds.domain.evidence import (
    AttestationState,
    AttestedComponent,
    MeasurementEvidence,
    OpaqueInput,
    OperatorResult,
    Policy,
    ReleaseEvidence,
)
from builds.domain.manifest import parse_measurement
from builds.domain.quoting import quoted, toml_string, workflow_path
from builds.domain.recipe import parse_recipe
from builds.domain.roles import BootMode, Role
from builds.domain.sealing import LaunchFacts

SHA256 = Digest.sha256("a" * 64)
FILE = FileDigests(3, SHA256, Digest.sha384("a" * 96))
FULL = frozenset({"ovmf", "kernel", "initrd", "cmdline"})
LAUNCH = LaunchFacts("default", "direct_kernel", 4, "EPYC-v4", 1, "qemu", "quiet 'a' $b", "b" * 96, None, None, FULL)
FILES = {
    Role.KATANA: "katana.tar.gz",
    Role.KERNEL: "vmlinuz",
    Role.INITRD: "initrd.img",
    Role.OVMF: "ovmf.fd",
    Role.DISK: "disk.raw.gz",
}
NAMES = Names("enclave", "v1.0.0", "https://portal.example", FILES, (LAUNCH,))


def published(role: Role, claimed: Digest | None = SHA256) -> PublishedComponent:
    return PublishedComponent(role, claimed, Subject.CONTENT, FILE, None)


def measured(**changed: Any) -> MeasurementEvidence:
    whole = MeasurementEvidence("default", BootMode.DIRECT_KERNEL, "b" * 96, "b" * 96, "b" * 96, FULL, "bin/katana")
    return replace(whole, **changed)


def result(outcome: RebuildOutcome, opaque: tuple[OpaqueInput, ...] = ()) -> OperatorResult:
    rows = tuple(Compared(role, Algorithm.SHA256, SHA256, SHA256, outcome) for role in Role)
    return OperatorResult("Ada", rows, outcome, opaque)


def evidence(**changed: Any) -> ReleaseEvidence:
    whole = ReleaseEvidence(
        commit="c" * 40,
        components=tuple(published(role) for role in Role),
        contradictions=(),
        absent=(),
        attestations={role: AttestedComponent(AttestationState.VERIFIED, "") for role in Role},
        results=(result(RebuildOutcome.REPRODUCED), replace(result(RebuildOutcome.REPRODUCED), operator="Ben")),
        measurements=(measured(),),
        policy=Policy(2, frozenset()),
    )
    return replace(whole, **changed)


def attested(state: AttestationState, *roles: Role) -> dict[Role, AttestedComponent]:
    return {role: AttestedComponent(state if role in roles else AttestationState.VERIFIED, "Why.") for role in Role}


def advice_on(key: str, seen: ReleaseEvidence, names: Names = NAMES) -> tuple[Advice, ...]:
    condition = next(entry for entry in conditions_of(seen) if entry.key == key)
    assert condition.state is not ConditionState.MET
    return advise(condition, seen, names)


def read(snippet: Snippet) -> Any:
    """The snippet as whoever it is pasted for reads it."""
    match snippet.language:
        case "yaml":
            return yaml.safe_load(snippet.text)
        case "toml":
            return tomllib.loads(snippet.text)
        case "json":
            return json.loads(snippet.text)
        case "sh":
            subprocess.run(["bash", "-n"], input=snippet.text.encode(), check=True)
            return [shlex.split(line) for line in snippet.text.replace("\\\n", "").splitlines()]
    raise AssertionError(snippet.language)


CASES = {
    "changed": evidence(changes=("asset vmlinuz was a, is b",)),
    "contradicts": evidence(contradictions=("kernel is not what the manifest says.",)),
    "file absent": evidence(absent=("kernel: not found.",)),
    "not named": evidence(components=(published(Role.KERNEL, None), published(Role.INITRD))),
    "no component": evidence(components=()),
    "unwatched": evidence(unwatched="Nobody looked."),
    **{f"attestation {state}": evidence(attestations=attested(state, Role.INITRD)) for state in AttestationState},
    "not rebuilt": evidence(results=()),
    "contradicted": evidence(results=(result(RebuildOutcome.MISMATCHED),)),
    "disputed": evidence(
        results=(result(RebuildOutcome.MISSING), replace(result(RebuildOutcome.REPRODUCED), operator="B"))
    ),
    "no measurement": evidence(measurements=()),
    "unplaced": evidence(measurements=(), unplaced=("Nothing says what it was computed for.",)),
    "differs": evidence(measurements=(measured(recomputed="c" * 96),)),
    "rebuilt differs": evidence(measurements=(measured(rebuilt="c" * 96),)),
    "not published": evidence(measurements=(measured(published=None),)),
    "not recomputed": evidence(measurements=(measured(recomputed=None, coverage=frozenset()),)),
    "measurement not rebuilt": evidence(measurements=(measured(rebuilt=None),)),
    "firmware only": evidence(measurements=(measured(coverage=frozenset({"ovmf"})),)),
    "from disk": evidence(measurements=(measured(boot_mode=BootMode.UEFI_DISK, coverage=frozenset({"ovmf"})),)),
    "katana unseen": evidence(measurements=(measured(katana_inside_initrd=None),)),
    "opaque": evidence(embedded=(OpaqueInput("tar: bin/tool", SHA256, "a program"),)),
    "base unnamed": evidence(base_unnamed=True),
}


@pytest.mark.parametrize("case", list(CASES))
def test_every_unmet_condition_has_advice_that_can_be_pasted(case: str) -> None:
    seen = CASES[case]
    for condition in conditions_of(seen):
        found = advise(condition, seen, NAMES)
        assert found
        for entry in found:
            assert entry.what.strip()
            assert entry.mender in Mender
            if entry.snippet is not None:
                assert read(entry.snippet)
                assert entry.snippet.place


@pytest.mark.parametrize(
    ("key", "state"), list(product([entry.key for entry in conditions_of(evidence())], ConditionState))
)
def test_every_state_of_every_condition_has_advice_whatever_the_evidence(key: str, state: ConditionState) -> None:
    for seen in (evidence(), *CASES.values()):
        found = advise(Condition(key, state, "Why."), seen, NAMES)
        assert found
        assert all(entry.what for entry in found)


def test_the_attestation_step_names_the_very_files_that_lack_one_with_its_permissions() -> None:
    seen = evidence(attestations=attested(AttestationState.ABSENT, Role.INITRD, Role.KERNEL))
    (advice,) = advice_on("attested-by-expected-publisher", seen)
    assert advice.mender is Mender.PUBLISHER
    assert advice.snippet is not None
    step = read(advice.snippet)
    assert step["permissions"] == {"contents": "read", "id-token": "write", "attestations": "write"}
    assert step["steps"][0]["uses"].startswith("actions/attest-build-provenance@")
    assert step["steps"][0]["with"]["subject-path"].split() == ["output/vmlinuz", "output/initrd.img"]


def test_a_signature_of_somebody_else_is_no_case_for_a_step_to_paste() -> None:
    found = advice_on(
        "attested-by-expected-publisher", evidence(attestations=attested(AttestationState.WRONG_IDENTITY, Role.DISK))
    )
    assert [entry.mender for entry in found] == [Mender.PUBLISHER, Mender.ADMINISTRATOR]
    assert "an attack" in found[0].what
    assert found[0].snippet is None


def test_an_opaque_input_comes_with_the_line_that_accepts_its_digest() -> None:
    found = advice_on("opaque-inputs-accepted", CASES["opaque"])
    snippet = next(entry.snippet for entry in found if entry.mender is Mender.ADMINISTRATOR)
    assert snippet is not None
    (line,) = read(snippet)
    assert line[1:5] == ["manage.py", "accept_opaque", "a" * 64, "--project"]
    assert line[-1].startswith("tar: bin/tool: ")


def test_a_change_comes_with_the_line_that_explains_it() -> None:
    snippet = next(entry.snippet for entry in advice_on("files-match-manifest", CASES["changed"]) if entry.snippet)
    assert read(snippet)[0][1:6] == ["manage.py", "explain_changes", "v1.0.0", "--project", "enclave"]


def test_an_operator_gets_the_one_command_with_this_portals_address() -> None:
    (advice,) = advice_on("reproduced-by-enough-operators", CASES["not rebuilt"])
    assert advice.mender is Mender.OPERATORS
    assert advice.what.startswith("2 more operators have to rebuild it")
    assert advice.snippet is not None
    line = "tee-portal-rebuilder rebuild v1.0.0 --portal https://portal.example --project enclave"
    assert read(advice.snippet) == [line.split()]


def test_a_release_without_stages_gets_a_recipe_that_the_portal_reads() -> None:
    names = replace(NAMES, is_buildable=False)
    found = advice_on("reproduced-by-enough-operators", CASES["not rebuilt"], names)
    assert found[0].snippet is not None
    recipe = parse_recipe(found[0].snippet.text.encode())
    assert set(recipe.components) == set(Role)
    assert recipe.launch_configurations[0].boot_mode is BootMode.DIRECT_KERNEL


def test_a_contradiction_names_the_operators_and_the_results_to_set_aside() -> None:
    names = replace(NAMES, against=("00000000-0000-0000-0000-000000000001",))
    found = advice_on("reproduced-by-enough-operators", CASES["contradicted"], names)
    assert "Compare what Ada got with yours" in found[0].what
    aside = next(entry.snippet for entry in found if entry.mender is Mender.ADMINISTRATOR)
    assert aside is not None
    assert read(aside)[0][1:4] == ["manage.py", "set_aside", "00000000-0000-0000-0000-000000000001"]


def rebuilt(component: PublishedComponent, given: Digest, operator: str) -> OperatorResult:
    rows = (compare_component(component, replace(FILE, sha256=given)),)
    return OperatorResult(operator, rows, rows[0].outcome, ())


KERNEL = published(Role.KERNEL)
REPLACED = published(Role.KERNEL, Digest.sha256("f" * 64))
ABSENT = attested(AttestationState.ABSENT, Role.KERNEL)


def test_a_file_that_rebuilds_say_was_replaced_gets_no_line_that_blesses_it() -> None:
    results = tuple(rebuilt(REPLACED, REPLACED.claimed or SHA256, name) for name in ("Ada", "Ben"))
    seen = evidence(components=(REPLACED,), contradictions=("kernel: another.",), results=results, attestations=ABSENT)
    (advice,) = advice_on("files-match-manifest", seen)
    assert (advice.mender, advice.snippet) == (Mender.PUBLISHER, None)
    assert "Whoever rebuilt kernel got what manifest.json says, not the published file" in advice.what
    (advice,) = advice_on("attested-by-expected-publisher", seen)
    assert "Do not attest kernel as published" in advice.what
    assert advice.snippet is None


def test_before_anybody_rebuilt_a_contradicting_file_is_taken_for_replaced_and_a_rebuild_is_asked_for() -> None:
    seen = evidence(components=(REPLACED,), contradictions=("kernel: another.",), results=(), attestations=ABSENT)
    publisher, operators = advice_on("files-match-manifest", seen)
    assert "take the files for replaced until you know" in publisher.what
    assert (operators.mender, operators.snippet is not None) == (Mender.OPERATORS, True)
    (advice,) = advice_on("attested-by-expected-publisher", seen)
    assert "Do not attest kernel as published" in advice.what


def test_operators_who_agree_with_each_other_only_say_that_the_file_did_not_come_from_the_build() -> None:
    other = Digest.sha256("e" * 64)
    seen = evidence(
        components=(KERNEL,), results=tuple(rebuilt(KERNEL, other, name) for name in ("A", "B")), attestations=ABSENT
    )
    assert "All 2 operators got the same bytes of kernel" in advice_on("reproduced-by-enough-operators", seen)[0].what
    assert "Do not attest kernel" in advice_on("attested-by-expected-publisher", seen)[0].what
    unlike = replace(seen, results=(rebuilt(KERNEL, other, "A"), rebuilt(KERNEL, Digest.sha256("d" * 64), "B")))
    assert "not deterministic" in advice_on("reproduced-by-enough-operators", unlike)[0].what
    one = replace(seen, results=seen.results[:1])
    assert "not deterministic" in advice_on("reproduced-by-enough-operators", one)[0].what


def test_a_measurement_document_is_one_that_the_portal_reads() -> None:
    seen = CASES["no measurement"]
    snippet = advice_on("measurements-recompute", seen)[-1].snippet
    assert snippet is not None
    read_back = parse_measurement(snippet.text.encode())
    assert read_back.components.cmdline == LAUNCH.command_line
    assert read_back.measurement == LAUNCH.published
    snippet = advice_on("measurements-recompute", seen, replace(NAMES, launches=(), files={}))[-1].snippet
    assert snippet is not None
    assert parse_measurement(snippet.text.encode()).measurement == "0" * 96


def test_the_command_that_measures_has_the_configurations_own_values() -> None:
    snippet = advice_on("measurements-recompute", CASES["differs"])[0].snippet
    assert snippet is not None
    (line,) = read(snippet)
    assert f"--append={LAUNCH.command_line}" in line
    assert line[line.index("--vcpus") + 1] == "4"
    assert line[line.index("--guest-features") + 1] == "0x1"
    assert line[line.index("--vmm-type") + 1] == "QEMU"


def test_a_value_that_only_rebuilt_files_contradict_is_not_to_be_measured_again() -> None:
    (advice,) = advice_on("measurements-recompute", CASES["rebuilt differs"])
    assert "The published files give the published value for default, and rebuilt files another" in advice.what
    assert advice.snippet is None


def test_a_boot_from_disk_is_measured_by_its_firmware_alone_and_for_the_vmm_that_it_names() -> None:
    snippet = measure([replace(LAUNCH, boot_mode="uefi_disk", vmm="ec2")], {Role.OVMF: "-x.fd"})
    (line,) = read(snippet)
    assert line[line.index("--ovmf") + 1] == "./-x.fd"
    assert line[line.index("--vmm-type") + 1] == "ec2"
    assert not {"--kernel", "--initrd"} & set(line)
    assert "--append" not in snippet.text


def test_a_firmware_without_kernel_hashes_is_told_which_one_has_them() -> None:
    found = advice_on("measurement-covers-what-boots", CASES["firmware only"])
    assert "SNP_KERNEL_HASHES" in found[0].what
    assert "kernel-hashes=on" in found[0].what


def test_a_document_without_a_component_gets_its_digest_and_nothing_invented() -> None:
    snippet = advice_on("files-match-manifest", CASES["not named"])[0].snippet
    assert snippet is not None
    assert read(snippet) == {"components": {"kernel_sha256": "a" * 64}}


HOSTILE = [
    "plain",
    "a b",
    "$(rm -rf /)",
    "`id`",
    "'; rm -rf / #",
    '"',
    "\\",
    "${{ secrets.TOKEN }}",
    "*",
    "!x",
    "#x",
    "- x: y",
    "\u202egnp.exe",
    "line\nend",
    "\x00\x1b[31m",
    "\U0001f600",
    "\U000e0041",
    "x" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_names_in_every_language(name: str) -> None:
    files = dict.fromkeys(Role, name)
    launch = replace(LAUNCH, command_line=name.replace("\x00", ""), vcpu_type=name.replace("\x00", ""))
    names = Names(name.replace("\x00", ""), name.replace("\x00", ""), "https://x", files, (launch,), is_buildable=False)
    for seen in CASES.values():
        changed = replace(seen, embedded=(OpaqueInput(name, SHA256, "why"),))
        for condition in conditions_of(changed):
            for entry in advise(condition, changed, names):
                if entry.snippet is None:
                    continue
                assert "${{" not in entry.snippet.text or entry.snippet.language != "yaml"
                assert not set(entry.snippet.text) & set("\u202e\x1b\x00")
                if entry.snippet.language != "sh":
                    read(entry.snippet)


@given(st.text(st.characters(exclude_characters="\x00/", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_workflow_pattern_matches_its_file_and_begins_no_expression(name: str) -> None:
    pattern = workflow_path(name)
    assert fnmatch.fnmatchcase(name, pattern)
    assert "${{" not in pattern
    assert yaml.safe_load(f"a: |\n  output/{pattern}\n") == {"a": f"output/{pattern}\n"}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_quoted_string_is_read_back_as_it_was(text: str) -> None:
    assert tomllib.loads(f"a = {toml_string(text)}") == {"a": text}
    assert yaml.safe_load(f"a: {toml_string(text)}") == {"a": text}


@pytest.mark.parametrize("text", [name for name in HOSTILE if "\x00" not in name])
def test_a_shell_reads_one_word_as_it_was(text: str) -> None:
    said = subprocess.run(["bash", "-c", f"printf %s {quoted(text)}"], capture_output=True, check=True)
    assert said.stdout.decode() == text
