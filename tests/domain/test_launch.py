import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.errors import MalformedInput
from builds.domain.launch import MAX_VCPUS, LaunchConfiguration, coverage_of
from builds.domain.roles import BootMode


def configuration(vcpus: int = 4, guest_features: int = 1) -> LaunchConfiguration:
    return LaunchConfiguration(BootMode.DIRECT_KERNEL, vcpus, "EPYC-v4", guest_features, "qemu")


@given(st.integers(1, MAX_VCPUS), st.integers(0, 2**64 - 1))
def test_what_a_vm_can_have_is_a_launch_configuration(vcpus: int, guest_features: int) -> None:
    assert configuration(vcpus, guest_features).vcpus == vcpus


@given(st.integers(max_value=0) | st.integers(min_value=MAX_VCPUS + 1))
def test_a_vm_without_vcpus_or_with_too_many_is_refused(vcpus: int) -> None:
    with pytest.raises(MalformedInput, match="vCPUs"):
        configuration(vcpus=vcpus)


@given(st.integers(max_value=-1) | st.integers(min_value=2**64))
def test_guest_features_that_would_be_cut_to_64_bits_are_refused(guest_features: int) -> None:
    with pytest.raises(MalformedInput, match="64 bits"):
        configuration(guest_features=guest_features)


@given(st.sampled_from(BootMode), st.booleans())
def test_kernel_and_command_line_are_covered_only_by_direct_boot_with_kernel_hashes(
    boot_mode: BootMode, kernel_hashes: bool
) -> None:
    covered = coverage_of(boot_mode, kernel_hashes=kernel_hashes)
    assert "ovmf" in covered
    assert "disk" not in covered
    assert (covered == {"ovmf", "kernel", "initrd", "cmdline"}) == (
        boot_mode is BootMode.DIRECT_KERNEL and kernel_hashes
    )
