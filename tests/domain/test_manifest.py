import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.digest import Digest
from builds.domain.errors import MalformedInput
from builds.domain.manifest import (
    MAX_DOCUMENT_BYTES,
    MalformedManifest,
    MalformedMeasurement,
    UnsupportedManifest,
    parse_manifest,
    parse_measurement,
    parse_measurement_text,
)
from builds.domain.roles import BootMode, Role


def document(**changes: Any) -> dict[str, Any]:
    """A manifest as the workflow writes it."""
    return {
        "version": "1.0",
        "katana_version": "v1.7.0",
        "source_date_epoch": 1_700_000_000,
        "git_commit": "c" * 40,
        "components": {
            "katana_binary_sha384": "1" * 96,
            "disk_image_sha256": "2" * 64,
            "kernel_sha256": "3" * 64,
            "initrd_sha256": "4" * 64,
            "ovmf_sha256": "5" * 64,
        },
        "measurement": {"sev_snp_hex": "6" * 96, "vcpus": 4, "vcpu_type": "EPYC-v4"},
        **changes,
    }


def measurement(**changes: Any) -> dict[str, Any]:
    return {
        "measurement": "6" * 96,
        "boot_mode": "direct_kernel",
        "components": {"ovmf": "ovmf.fd", "kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "console=ttyS0"},
        "vm_config": {"vcpus": 4, "vcpu_type": "EPYC-v4"},
        "notes": "",
        **changes,
    }


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_manifest_names_each_component_in_its_own_algorithm() -> None:
    manifest = parse_manifest(encoded(document()))
    assert manifest.digests[Role.KATANA] == Digest.sha384("1" * 96)
    assert manifest.digests[Role.DISK] == Digest.sha256("2" * 64)
    assert set(manifest.digests) == set(Role)


def test_a_component_the_manifest_does_not_name_is_absent_not_zero() -> None:
    manifest = parse_manifest(encoded(document(components={"kernel_sha256": "3" * 64})))
    assert dict(manifest.digests) == {Role.KERNEL: Digest.sha256("3" * 64)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"version": "1.0", "version": "1.0"}',
        encoded(document()).replace(b"1700000000", b"NaN"),
        b"[" * 100_000,
        b" " * (MAX_DOCUMENT_BYTES + 1),
        encoded(document(git_commit="c" * 39)),
        encoded(document(git_commit="C" * 40)),
        encoded(document(git_commit="HEAD")),
        encoded(document(katana_version="../../etc")),
        encoded(document(katana_version="v1 ")),
        encoded(document(katana_version="")),
        encoded(document(source_date_epoch="1700000000")),
        encoded(document(source_date_epoch=-1)),
        encoded(document(source_date_epoch=1.5)),
        encoded(document(source_date_epoch=True)),
        encoded(document(extra=1)),
        encoded(document(components={"kernel_sha256": "3" * 63})),
        encoded(document(components={"kernel_sha256": "3" * 65})),
        encoded(document(components={"kernel_sha256": "G" * 64})),
        encoded(document(components={"kernel_sha256": 3})),
        encoded(document(components={"kernel_md5": "3" * 32})),
        encoded(document(components={"bootloader_sha256": "3" * 64})),
        encoded(document(components=[])),
        encoded(document(measurement={"sev_snp_hex": "6" * 95, "vcpus": 4, "vcpu_type": "EPYC-v4"})),
        encoded(document(measurement={"sev_snp_hex": "6" * 96, "vcpus": 0, "vcpu_type": "EPYC-v4"})),
        encoded(document(measurement={"sev_snp_hex": "6" * 96, "vcpus": 10**30, "vcpu_type": "EPYC-v4"})),
        b'{"version": "1.0", "source_date_epoch": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_manifest_that_is_not_exactly_version_1_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(MalformedManifest) as caught:
        parse_manifest(data)
    assert caught.value.what
    assert caught.value.todo


@pytest.mark.parametrize("version", ["2.0", "1", 1.0, None, ["1.0"]])
def test_another_version_is_named_as_such(version: object) -> None:
    with pytest.raises(UnsupportedManifest):
        parse_manifest(encoded(document(version=version)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(document())), json_values)
def test_a_field_of_any_other_kind_is_refused_or_read_but_never_escapes(field: str, value: object) -> None:
    for parse in (parse_manifest, parse_measurement):
        try:
            parse(encoded(document(**{field: value})))
        except MalformedInput as error:
            assert error.code in {"malformed-manifest", "unsupported-manifest", "malformed-measurement"}


@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_escape(data: bytes) -> None:
    for parse in (parse_manifest, parse_measurement, parse_measurement_text):
        with pytest.raises(MalformedInput):
            parse(data)


def test_a_measurement_document_is_read_with_its_boot_mode_and_command_line() -> None:
    read = parse_measurement(encoded(measurement()))
    assert read.boot_mode is BootMode.DIRECT_KERNEL
    assert read.components.cmdline == "console=ttyS0"
    firmware_only = parse_measurement(encoded(measurement(boot_mode="uefi_disk", components={"ovmf": "ovmf.fd"})))
    assert firmware_only.components.kernel is None


@pytest.mark.parametrize(
    "changes",
    [
        {"boot_mode": "bios"},
        {"measurement": "6" * 64},
        {"components": {}},
        {"more": 1},
        {"notes": "half a character: \ud800"},
        {"notes": "zero: \0"},
        {"components": {"ovmf": "o", "kernel": "k", "initrd": "i", "cmdline": "a\0b"}},
        {"components": {"ovmf": "o", "kernel": "k", "initrd": "i"}},
    ],
)
def test_a_broken_measurement_document_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedMeasurement):
        parse_measurement(encoded(measurement(**changes)))


def test_the_text_form_is_96_hex_characters_and_a_newline() -> None:
    assert parse_measurement_text(b"a" * 96 + b"\n") == "a" * 96
    for data in (b"", b"a" * 95, b"a" * 97, b"g" * 96, b"a" * 96 + b"\n\nx"):
        with pytest.raises(MalformedMeasurement):
            parse_measurement_text(data)
