"""build-info as lines of KEY=VALUE: read back as written, and refused by name when it is anything else."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.build_info import (
    MAX_ENTRIES,
    MAX_VALUE_CHARACTERS,
    MalformedBuildInfo,
    NamedPackage,
    Reused,
    parse_build_info,
    render_build_info,
)
from builds.domain.digest import Digest
from builds.domain.manifest import MAX_DOCUMENT_BYTES
from builds.domain.roles import Role

WHERE = "build-info-v1.txt"
EPOCH = b"SOURCE_DATE_EPOCH=1700000000\n"
KNOWN = ("_SHA256", "_SHA256S", "_PACKAGES", "LAUNCH_MEASUREMENT", "LUKS_UUID", "SOURCE_DATE_EPOCH", "VERSION")

values = st.text(
    st.characters(codec="utf-8").filter(lambda character: unicodedata.category(character) not in {"Cc", "Zl", "Zp"}),
    max_size=80,
)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True).filter(lambda key: not key.endswith(KNOWN))


def read(text: str) -> object:
    return parse_build_info(EPOCH + text.encode(), where=WHERE)


@given(st.dictionaries(keys, values, max_size=20))
def test_what_is_written_is_read_back_unknown_keys_and_order_included(unknown: dict[str, str]) -> None:
    written = {"SOURCE_DATE_EPOCH": "1700000000", **unknown}
    info = parse_build_info(render_build_info(written), where=WHERE)
    assert dict(info.values) == written
    assert list(info.values) == list(written)
    assert info.source_date_epoch == 1_700_000_000


@given(st.dictionaries(keys, st.from_regex(r"[!#-&(-~]([ -~]{0,60}[!-~])?", fullmatch=True), max_size=10))
def test_bare_values_comments_and_blank_lines_read_the_same(unknown: dict[str, str]) -> None:
    lines = [f"  {key}={value}\t\n\n# {key}=other\n" for key, value in unknown.items()]
    info = parse_build_info(EPOCH + "".join(["# by the workflow\n\n", *lines]).encode(), where=WHERE)
    assert {key: info.values[key] for key in unknown} == unknown


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    for document in (data, EPOCH + data):
        try:
            info = parse_build_info(document, where=WHERE)
        except MalformedBuildInfo as error:
            assert WHERE in error.where
        else:
            assert info.source_date_epoch >= 0
            assert info.packages == info.packages


def test_claims_are_of_the_components_themselves_and_there_is_no_disk() -> None:
    text = f"KATANA_BINARY_SHA256={'A' * 64}\nKERNEL_SHA256='{'b' * 64}'\nDISK_SHA256={'c' * 64}\n"
    info = parse_build_info(EPOCH + text.encode(), where=WHERE)
    assert info.digests == {Role.KATANA: Digest.sha256("a" * 64), Role.KERNEL: Digest.sha256("b" * 64)}
    assert info.values["DISK_SHA256"] == "c" * 64


def test_a_key_without_a_value_states_nothing() -> None:
    info = parse_build_info(
        EPOCH + b'KERNEL_SHA256=\nLAUNCH_MEASUREMENT=\nLUKS_UUID=""\nOVMF_REUSED_FROM=\nKERNEL_PKG_SHA256=\n',
        where=WHERE,
    )
    assert (info.digests, info.launch_measurement, info.reused, info.packages) == ({}, None, (), ())
    assert info.values["LUKS_UUID"] == ""


def test_what_was_taken_over_keeps_its_key_and_its_component_if_it_has_one() -> None:
    info = parse_build_info(
        EPOCH + b"OVMF_REUSED_FROM=v1\nBUSYBOX_REUSED_FROM=v2\nKATANA_REUSED_FROM=v3\n", where=WHERE
    )
    assert info.reused == (
        Reused("OVMF_REUSED_FROM", Role.OVMF, "v1"),
        Reused("BUSYBOX_REUSED_FROM", None, "v2"),
        Reused("KATANA_REUSED_FROM", Role.KATANA, "v3"),
    )


def test_packages_are_named_by_digest_with_their_versions() -> None:
    text = (
        f"KERNEL_VERSION=6.8.0-90\nKERNEL_PKG_SHA256={'1' * 64}\n"
        f"KERNEL_MODULES_EXTRA_PKG_VERSION=6.8.0-90.99\nKERNEL_MODULES_EXTRA_PKG_SHA256={'2' * 64}\n"
        f"BUSYBOX_PKG_SHA256={'3' * 64}\n"
        f"GLIBC_RUNTIME_PACKAGES=libc6=2.39-0ubuntu8.7\n"
        f"GLIBC_RUNTIME_PACKAGE_SHA256S=libc6={'4' * 64} libgcc-s1={'5' * 64}\n"
    )
    info = parse_build_info(EPOCH + text.encode(), where=WHERE)
    assert info.packages == (
        NamedPackage("kernel package", "6.8.0-90", Digest.sha256("1" * 64)),
        NamedPackage("kernel-modules-extra package", "6.8.0-90.99", Digest.sha256("2" * 64)),
        NamedPackage("busybox package", "", Digest.sha256("3" * 64)),
        NamedPackage("libc6", "2.39-0ubuntu8.7", Digest.sha256("4" * 64)),
        NamedPackage("libgcc-s1", "", Digest.sha256("5" * 64)),
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("SOURCE_DATE_EPOCH=1700000000", "given twice"),
        ("A=1\nA=1", "given twice"),
        ("no value", "not of the form"),
        ("=value", "not of the form"),
        ("A B=1", "not of the form"),
        ("export A=1", "not of the form"),
        ("1A=1", "not of the form"),
        ("Ä=1", "not of the form"),
        ("A\u200b=1", "not of the form"),
        (f"{'A' * 81}=1", "not of the form"),
        ('A="1', "quote"),
        ("A='", "quote"),
        ("A=\"1'", "quote"),
        ("A=1\x00", "control character"),
        ("A=1\r", "control character"),
        ("A=\x1b[2J", "control character"),
        ("A=1\u2028B=2", "control character"),
        ("A=1\x85B=2", "control character"),
        (f"A={'x' * (MAX_VALUE_CHARACTERS + 1)}", "longer"),
        ("KERNEL_SHA256=abc", "sha256 digest"),
        (f"OVMF_SHA256={'\u0661' * 64}", "sha256 digest"),
        ("KERNEL_PKG_SHA256=unknown", "sha256 digest"),
        (f"LAUNCH_MEASUREMENT={'0' * 64}", "sha384 digest"),
        ("LUKS_UUID=x init=/bin/sh", "not a UUID"),
        ("LUKS_UUID=6f6b5a5e0d8f4a559d0e3a1b8f7f9c11", "not a UUID"),
        ("GLIBC_RUNTIME_PACKAGE_SHA256S=libc6", "list of name=sha256"),
        (f"X_PACKAGE_SHA256S=<b>={'1' * 64}", "is no package"),
        (f"A_PKG_SHA256={'1' * 64}\nA_VERSION={'v' * 151}", "is no package"),
        ("\n".join(f"A{number}=1" for number in range(MAX_ENTRIES)), "keys"),
    ],
)
def test_hostile_lines_are_refused_with_their_reason(line: str, says: str) -> None:
    with pytest.raises(MalformedBuildInfo, match=says):
        read(line)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"SOURCE_DATE_EPOCH=\n",
        b"SOURCE_DATE_EPOCH=-1\n",
        b"SOURCE_DATE_EPOCH=1e9\n",
        "SOURCE_DATE_EPOCH=\u0661\u0667\n".encode(),
        b"SOURCE_DATE_EPOCH=" + b"9" * 13 + b"\n",
        EPOCH + b"A=\xff\n",
        EPOCH.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + EPOCH,
        EPOCH + b"#" * MAX_DOCUMENT_BYTES,
    ],
)
def test_documents_without_a_time_or_without_an_end_are_refused(document: bytes) -> None:
    with pytest.raises(MalformedBuildInfo):
        parse_build_info(document, where=WHERE)
