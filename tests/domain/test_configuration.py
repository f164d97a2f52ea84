"""What is asked of the selector, and the decision for exactly that configuration."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.comparison import RebuildOutcome
from builds.domain.conditions import Condition, ConditionState
from builds.domain.configuration import (
    VMMS,
    ConfigurationJudgement,
    PublishedConfiguration,
    Standing,
    WantedConfiguration,
    judge_configuration,
)
from builds.domain.configuration_form import Asked, UnusableValue, read_form
from builds.domain.consensus import Tally
from builds.domain.errors import PortalError
from builds.domain.launch import DIRECT_KERNEL_COVERAGE, FIRMWARE_COVERAGE, LaunchConfiguration, LaunchMeasurement
from builds.domain.recipe import MAX_COMMAND_LINE_BYTES
from builds.domain.roles import BootMode
from builds.domain.verdict import Decision, ReleaseVerdict

TYPES = ("EPYC", "EPYC-v4", "EPYC-Milan")
COMMAND_LINE = "console=ttyS0 katana.args=--http.addr=0.0.0.0"
VALUE, OTHER = "a" * 96, "b" * 96
FOUR = LaunchConfiguration(BootMode.DIRECT_KERNEL, 4, "EPYC-v4", 1, "qemu")
DISK = LaunchConfiguration(BootMode.UEFI_DISK, 4, "EPYC-v4", 1, "qemu")
FULL = LaunchMeasurement(VALUE, BootMode.DIRECT_KERNEL, DIRECT_KERNEL_COVERAGE)
FIRMWARE = LaunchMeasurement(VALUE, BootMode.UEFI_DISK, FIRMWARE_COVERAGE)
PROBLEM = PortalError("the firmware of this release is not kept here", where="sha256:1", todo="Import it again.")
PUBLISHED = PublishedConfiguration("default", FOUR, COMMAND_LINE, VALUE, FULL)
WITH_DEBUG_SWAP = PublishedConfiguration("debug", replace(FOUR, guest_features=0x21), COMMAND_LINE, "c" * 96, None)
DEFINED_FEATURES = st.sets(st.sampled_from([*range(1, 13), 14, 15, 16, 21])).map(
    lambda bits: sum(1 << b for b in bits) | 1
)


def verdict(*unmet: str) -> ReleaseVerdict:
    return ReleaseVerdict(
        decision=Decision.DENY if unmet else Decision.ALLOW,
        outcome=RebuildOutcome.REPRODUCED,
        tally=Tally(needed=2, reproduced=2, contradicting=0, failed=0),
        attestation=None,
        conditions=tuple(Condition(key, ConditionState.UNMET, "It does not hold.") for key in unmet),
        paragraphs=(),
    )


def judged(
    launch: LaunchConfiguration = FOUR,
    command_line: str = COMMAND_LINE,
    found: LaunchMeasurement | PortalError = FULL,
    published: tuple[PublishedConfiguration, ...] = (PUBLISHED,),
    unmet: tuple[str, ...] = (),
    *,
    is_vouched_for: bool = False,
) -> ConfigurationJudgement:
    wanted = WantedConfiguration(launch, command_line, is_vouched_for)
    return judge_configuration(wanted, found, published, verdict(*unmet))


def test_the_published_configuration_of_a_good_release_is_allowed() -> None:
    found = judged()
    assert (found.standing, found.decision, found.unmet) == (Standing.PUBLISHED, Decision.ALLOW, ())
    assert found.sentence == (
        f"Computed for the published command line, 4 vCPUs, EPYC-v4: {VALUE}. The publisher published this value for"
        " default. Release conditions: all met. Allow."
    )


def test_the_published_configuration_of_a_denied_release_is_denied_with_its_conditions() -> None:
    found = judged(unmet=("files-match-manifest", "opaque-inputs-accepted"))
    assert (found.standing, found.decision) == (Standing.PUBLISHED, Decision.DENY)
    assert [condition.key for condition in found.unmet] == ["files-match-manifest", "opaque-inputs-accepted"]
    assert found.sentence.endswith("Release conditions: 2 unmet. Deny.")


def test_an_own_command_line_of_a_denied_release_reads_as_the_design_says() -> None:
    found = judged(command_line="luks=1234", found=other_value(), unmet=("a", "b"), is_vouched_for=True)
    assert (found.standing, found.decision) == (Standing.FOLLOWS, Decision.DENY)
    assert found.sentence == (
        f"Computed for your command line, 4 vCPUs, EPYC-v4: {OTHER}. The publisher did not publish this value; it"
        " follows from the same files. Release conditions: 2 unmet. Deny."
    )


def test_an_own_command_line_of_a_good_release_denies_until_whoever_asks_vouches_for_it() -> None:
    found = judged(command_line="console=ttyS0 luks=1234", found=other_value())
    assert (found.standing, found.decision) == (Standing.FOLLOWS, Decision.DENY)
    (own,) = found.unmet
    assert (own.key, own.state) == ("configuration-command-line-known", ConditionState.UNKNOWN)
    assert "adds luks=1234" in own.sentence
    assert found.sentence.endswith("Deny: nobody vouches for its command line.")
    found = judged(command_line="console=ttyS0 luks=1234", found=other_value(), is_vouched_for=True)
    assert (found.decision, found.unmet) == (Decision.ALLOW, ())
    assert "Nobody but you vouches for this command line. Release conditions: all met. Allow." in found.sentence


def test_an_own_command_line_that_replaces_the_images_init_is_denied_for_an_otherwise_good_release() -> None:
    found = judged(command_line="console=ttyS0 rdinit=/bin/sh", found=other_value())
    assert (found.standing, found.decision) == (Standing.FOLLOWS, Decision.DENY)
    (own,) = found.unmet
    assert (own.key, own.state) == ("configuration-starts-the-images-init", ConditionState.UNMET)
    assert "rdinit=/bin/sh" in own.sentence
    assert found.sentence.endswith("Deny: another program than the image's init would start.")


def test_a_command_line_that_the_publisher_published_is_the_publishers_affair() -> None:
    published = replace(PUBLISHED, command_line="rdinit=/own", published=OTHER)
    found = judged(command_line="rdinit=/own", found=other_value(), published=(published,))
    assert (found.standing, found.decision) == (Standing.PUBLISHED, Decision.ALLOW)


def test_another_processor_count_with_the_published_command_line_is_allowed_without_that_warning() -> None:
    launch = LaunchConfiguration(BootMode.DIRECT_KERNEL, 1, "EPYC-Milan", 0x21, "gce")
    found = judged(launch, found=other_value(), published=(PUBLISHED, WITH_DEBUG_SWAP))
    assert (found.standing, found.decision) == (Standing.FOLLOWS, Decision.ALLOW)
    assert found.subject == "Computed for the published command line, 1 vCPU, EPYC-Milan, guest features 0x21, gce"
    assert "vouches" not in found.sentence


def test_guest_features_that_were_not_published_with_the_release_deny_beside_its_command_line() -> None:
    launch = replace(FOUR, guest_features=0x21)
    found = judged(launch, found=other_value())
    (own,) = found.unmet
    assert (own.key, own.state) == ("configuration-guest-features-known", ConditionState.UNKNOWN)
    assert own.sentence == "Nobody published this release with guest features 0x21, but with 0x1."
    assert found.sentence.endswith("Deny: nobody published its guest features.")
    assert judged(launch, found=other_value(), is_vouched_for=True).decision is Decision.DENY
    both = judged(launch, command_line="own", found=other_value())
    assert len(both.unmet) == 2
    assert "adds 2 that are not met. Deny: nobody vouches for its command line; nobody" in both.sentence
    assert judged(launch, found=other_value(), published=()).decision is Decision.DENY
    # Also the fewer: an image is made for those that it was published with.
    assert judged(found=other_value(), published=(WITH_DEBUG_SWAP,)).decision is Decision.DENY


def test_an_empty_command_line_is_called_that() -> None:
    assert (
        judged(command_line="", found=other_value()).subject == "Computed for an empty command line, 4 vCPUs, EPYC-v4"
    )


def test_a_measurement_of_the_firmware_only_is_denied_for_an_otherwise_good_release() -> None:
    found = judged(DISK, "", FIRMWARE, published=())
    assert (found.standing, found.decision) == (Standing.NOT_COVERED, Decision.DENY)
    assert [condition.key for condition in found.unmet] == ["configuration-covers-what-boots"]
    assert found.unmet[0].sentence == "The measurement of this configuration covers only: ovmf."
    assert "another kernel, initrd, command line or disk would give the same value" in found.sentence
    assert found.sentence.endswith(
        "Release conditions: all met; this configuration adds one that is not met."
        " Deny: its measurement does not cover all that boots."
    )


def test_a_published_measurement_of_the_firmware_only_is_not_green_either() -> None:
    published = PublishedConfiguration("disk", DISK, None, VALUE, FIRMWARE)
    found = judged(DISK, "", FIRMWARE, (published,))
    assert (found.standing, found.decision) == (Standing.NOT_COVERED, Decision.DENY)
    assert "The publisher published this value for disk. It covers firmware only" in found.sentence


def test_a_kernel_that_the_measurement_does_not_bind_is_denied() -> None:
    loose = LaunchMeasurement(VALUE, BootMode.DIRECT_KERNEL, FIRMWARE_COVERAGE)
    assert judged(found=loose).standing is Standing.NOT_COVERED
    assert judged(found=loose).decision is Decision.DENY


def test_another_published_value_for_the_same_configuration_is_named_and_denied() -> None:
    found = judged(found=other_value())
    assert (found.standing, found.decision) == (Standing.DIFFERS, Decision.DENY)
    assert f"The publisher published another value: {VALUE} for default." in found.sentence
    assert found.sentence.endswith("Deny: the published value is another one.")


def test_what_cannot_be_computed_is_denied_and_says_what_to_do() -> None:
    found = judged(found=PROBLEM)
    assert (found.standing, found.decision, found.measurement) == (Standing.UNKNOWN, Decision.DENY, None)
    assert found.sentence == (
        "Not computed for the published command line, 4 vCPUs, EPYC-v4. The firmware of this release is not kept here"
        " (sha256:1). Import it again. Release conditions: all met; this configuration adds one that is not met."
        " Deny: its measurement could not be computed."
    )
    assert [condition.state for condition in found.unmet] == [ConditionState.UNKNOWN]


def test_a_form_that_cannot_be_read_is_denied() -> None:
    found = judge_configuration(None, UnusableValue("'x' is no number", where="vcpus"), (PUBLISHED,), verdict())
    assert (found.standing, found.decision) == (Standing.UNKNOWN, Decision.DENY)
    assert found.subject == "Nothing was computed"


def other_value() -> LaunchMeasurement:
    return LaunchMeasurement(OTHER, BootMode.DIRECT_KERNEL, DIRECT_KERNEL_COVERAGE)


@given(
    launch=st.sampled_from([FOUR, DISK]),
    command_line=st.sampled_from([COMMAND_LINE, "own", ""]),
    found=st.sampled_from([FULL, FIRMWARE, PROBLEM, other_value()]),
    published=st.sampled_from([(), (PUBLISHED,)]),
    unmet=st.lists(st.sampled_from("abcdef"), unique=True, max_size=6),
    is_vouched_for=st.booleans(),
)
def test_only_a_good_release_and_a_value_that_covers_what_boots_is_ever_allowed(
    launch: LaunchConfiguration,
    command_line: str,
    found: LaunchMeasurement | PortalError,
    published: tuple[PublishedConfiguration, ...],
    unmet: list[str],
    *,
    is_vouched_for: bool,
) -> None:
    result = judged(launch, command_line, found, published, tuple(unmet), is_vouched_for=is_vouched_for)
    covered = not isinstance(found, PortalError) and launch is FOUR and found.coverage == DIRECT_KERNEL_COVERAGE
    exactly_published = bool(published) and launch is FOUR and command_line == COMMAND_LINE
    contradicted = exactly_published and found == other_value()
    known = is_vouched_for or command_line == (COMMAND_LINE if published else "")
    assert (result.decision is Decision.ALLOW) == (covered and known and not unmet and not contradicted)
    assert (result.decision is Decision.ALLOW) == (not result.unmet)
    assert (result.standing is Standing.UNKNOWN) == isinstance(found, PortalError)
    assert result.sentence.rpartition(". ")[2].startswith("Allow." if not result.unmet else "Deny")


def asked(base: PublishedConfiguration | None = PUBLISHED, **given_fields: str) -> Asked:
    return read_form(given_fields, base, TYPES)


def test_an_empty_form_asks_for_the_published_configuration() -> None:
    assert asked().outcome == WantedConfiguration(FOUR, COMMAND_LINE)
    assert PUBLISHED.is_for(WantedConfiguration(FOUR, COMMAND_LINE))


def test_fields_that_are_given_win_and_the_others_stay_as_published() -> None:
    launch = LaunchConfiguration(BootMode.DIRECT_KERNEL, 8, "EPYC-Milan", 0x21, "ec2")
    found = asked(vcpus=" 8 ", vcpu_type="EPYC-Milan", guest_features="0x21", vmm="ec2")
    assert found.outcome == WantedConfiguration(launch, COMMAND_LINE)
    assert asked(guest_features="33").outcome == asked(guest_features="0X21").outcome


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("boot_mode", "bios", "none of: direct_kernel, uefi_disk"),
        ("vcpus", "", "no number from 1 to 512"),
        ("vcpus", "0", "0 vCPUs cannot be measured"),
        ("vcpus", "513", "513 vCPUs cannot be measured"),
        ("vcpus", "-1", "no number"),
        ("vcpus", "\N{ARABIC-INDIC DIGIT FOUR}", "no number"),
        ("vcpus", "9" * 10_000, "no number"),
        ("vcpu_type", "Xeon", "none of: EPYC, EPYC-v4, EPYC-Milan"),
        ("guest_features", "0x10000000000000000", "no 64-bit number"),
        ("guest_features", "99999999999999999999", "does not fit 64 bits"),
        ("guest_features", "-1", "no 64-bit number"),
        ("guest_features", "0x0", "leaves bit 0 off, which is SEV-SNP itself"),
        ("guest_features", "0xfffffffffffffffe", "leaves bit 0 off, which is SEV-SNP itself"),
        ("guest_features", "0xffffffffffffffff", "sets bits 13, 17, 18, 19, 20, 22, 23, "),
        ("guest_features", "0x2001", "sets bit 13, reserved in AMD's manual"),
        ("guest_features", "0x8000000000000001", "sets bit 63, reserved in AMD's manual"),
        ("vmm", "QEMU", "none of: qemu, ec2, gce"),
        ("command_line", "a\0b", "one line"),
        ("command_line", "a\r\nb", "one line"),
        ("command_line", "\ud800", "one line"),
        ("command_line", "ä" * (MAX_COMMAND_LINE_BYTES // 2) + "x", f"{MAX_COMMAND_LINE_BYTES + 1} bytes"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_kept(field: str, value: str, reason: str) -> None:
    found = asked(**{field: value})
    assert list(found.problems) == [field]
    assert reason in found.problems[field].what
    assert found.values[field] == value
    assert found.outcome is found.problems[field]


def test_every_wrong_field_is_named_at_once() -> None:
    found = asked(vcpus="many", vcpu_type="Xeon", vmm="bhyve")
    assert list(found.problems) == ["vcpus", "vcpu_type", "vmm"]


def test_the_longest_command_line_is_taken() -> None:
    line = "x" * MAX_COMMAND_LINE_BYTES
    assert asked(command_line=line).outcome == WantedConfiguration(FOUR, line)


@pytest.mark.parametrize("published", ["a b", " a  b ", "a\nb\n", "a\r\nb", "x" * (MAX_COMMAND_LINE_BYTES + 1)])
@pytest.mark.parametrize("ending", ["", "\r\n"])
def test_a_published_command_line_comes_back_from_the_form_as_it_was_published(published: str, ending: str) -> None:
    base = PublishedConfiguration("default", FOUR, published, VALUE, FULL)
    sent = "\r\n".join(published.splitlines()) + ending
    assert asked(base, command_line=sent).outcome == WantedConfiguration(FOUR, published)


def test_line_ends_at_the_end_of_an_own_command_line_are_the_forms_and_spaces_are_the_readers() -> None:
    assert asked(command_line=" own  \r\n").outcome == WantedConfiguration(FOUR, " own  ")


def test_a_command_line_that_nobody_published_must_be_given_and_may_be_empty() -> None:
    base = PublishedConfiguration("default", FOUR, None, VALUE, None)
    assert "nothing published names the command line" in asked(base).problems["command_line"].what
    assert asked(base, command_line="").outcome == WantedConfiguration(FOUR, "")
    assert asked(base, boot_mode="uefi_disk").outcome == WantedConfiguration(DISK, "")


def test_firmware_that_boots_a_disk_has_no_command_line_to_read() -> None:
    assert asked(boot_mode="uefi_disk", command_line="a\0b").outcome == WantedConfiguration(DISK, "")


def test_without_a_published_configuration_the_form_still_asks_for_one() -> None:
    assert asked(None).outcome == WantedConfiguration(
        LaunchConfiguration(BootMode.DIRECT_KERNEL, 1, "EPYC-v4", 1, "qemu"), ""
    )


@given(
    vcpus=st.integers(1, 512),
    vcpu_type=st.sampled_from(TYPES),
    guest_features=DEFINED_FEATURES,
    vmm=st.sampled_from(VMMS),
    boot_mode=st.sampled_from(BootMode),
    command_line=st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=100),
)
def test_the_parameters_of_a_configuration_ask_for_it_again(
    vcpus: int, vcpu_type: str, guest_features: int, vmm: str, boot_mode: BootMode, command_line: str
) -> None:
    launch = LaunchConfiguration(boot_mode, vcpus, vcpu_type, guest_features, vmm)
    wanted = WantedConfiguration(launch, command_line if boot_mode is BootMode.DIRECT_KERNEL else "")
    for base in (PUBLISHED, None):
        assert read_form(wanted.parameters, base, TYPES).outcome == wanted


@given(st.dictionaries(st.sampled_from(sorted(WantedConfiguration(FOUR, "").parameters)), st.text(max_size=30)))
def test_any_form_is_read_or_every_problem_named(fields: dict[str, str]) -> None:
    found = read_form(fields, PUBLISHED, TYPES)
    assert isinstance(found.outcome, WantedConfiguration) == (not found.problems)
    assert all(found.values[name] == text for name, text in fields.items())


def test_every_pair_of_configurations_is_told_apart() -> None:
    launches = (FOUR, LaunchConfiguration(BootMode.DIRECT_KERNEL, 5, "EPYC-v4", 1, "qemu"), DISK)
    for launch, line in itertools.product(launches, (COMMAND_LINE, "other")):
        assert PUBLISHED.is_for(WantedConfiguration(launch, line)) == (launch == FOUR and line == COMMAND_LINE)
