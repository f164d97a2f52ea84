"""Files and bundles that are not what was announced: too long, too short, changed, or no snappy block."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestations.domain.github_errors import AssetChanged, UnexpectedAnswer
from attestations.domain.github_payloads import GitHubAsset
from attestations.github import MAX_BUNDLE_BYTES, GitHub
from attestations.snappy import MalformedSnappy, compress_block, declared_length, decompress_block
from builds.demo.github_server import GitHubServer, Origin, StoredBundle
from builds.domain.errors import LimitExceeded
from tests.github.conftest import DIGEST, MIB, REPOSITORY, bundle, peak_memory_below


def test_an_asset_whose_bytes_changed_is_not_kept(
    github: GitHub, asset: GitHubAsset, files: dict[str, Path], tmp_path: Path
) -> None:
    files["initrd"].write_bytes(b"INITRD")
    with pytest.raises(AssetChanged, match="hash to"):
        github.download(asset, tmp_path / "got" / "initrd")
    assert list((tmp_path / "got").iterdir()) == []


@pytest.mark.parametrize("content", [b"initr", b"initrd.", b""])
def test_an_asset_of_another_size_is_not_kept(
    github: GitHub, asset: GitHubAsset, files: dict[str, Path], tmp_path: Path, content: bytes
) -> None:
    files["initrd"].write_bytes(content)
    with pytest.raises(AssetChanged, match="release names"):
        github.download(asset.model_copy(update={"digest": None}), tmp_path / "got" / "initrd")
    assert list((tmp_path / "got").iterdir()) == []


def test_an_encoded_file_is_refused(server: GitHubServer, github: GitHub, asset: GitHubAsset, tmp_path: Path) -> None:
    server.fail_next(HTTPStatus.OK, {"Content-Encoding": "gzip"}, body=b"initrd", origin=Origin.STORAGE)
    with pytest.raises(UnexpectedAnswer, match="encoding"):
        github.download(asset, tmp_path / "initrd")


def stored(server: GitHubServer, body: bytes) -> None:
    server.fail_next(HTTPStatus.OK, body=body, origin=Origin.STORAGE)


def test_a_block_that_declares_four_gigabytes_is_refused_unread(server: GitHubServer, github: GitHub) -> None:
    stored(server, b"\xff\xff\xff\xff\x0f" + b"\xfe\x01\x00" * 1000)
    with peak_memory_below(16 * MIB), pytest.raises(LimitExceeded, match="declares 4294967295"):
        github.attestations(REPOSITORY, DIGEST, None)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xff" * 11,
        b"\xff\xff\xff\xff\x7f",
        b"\x80\x80\x80\x80\x80\x00",
        b"\x05abc",
        compress_block(bundle())[:-1],
        compress_block(bundle()) + b"\x00x",
        b"\xff\x06\x00\x00sNaPpY",
    ],
    ids=range(8),
)
def test_a_block_that_is_no_whole_raw_snappy_block_is_named(server: GitHubServer, github: GitHub, block: bytes) -> None:
    stored(server, block)
    with pytest.raises(UnexpectedAnswer, match="bundle cannot be read"):
        github.attestations(REPOSITORY, DIGEST, None)


def test_a_block_longer_than_a_bundle_can_need_is_refused(server: GitHubServer, github: GitHub) -> None:
    stored(server, bytes(2 * MIB))
    with pytest.raises(LimitExceeded):
        github.attestations(REPOSITORY, DIGEST, None)


def test_a_bundle_of_just_the_limit_is_taken_and_one_more_byte_is_not(server: GitHubServer, github: GitHub) -> None:
    stored(server, compress_block(bytes(MAX_BUNDLE_BYTES)))
    assert len(github.attestations(REPOSITORY, DIGEST, None).bundles[1]) == MAX_BUNDLE_BYTES
    stored(server, compress_block(bytes(MAX_BUNDLE_BYTES + 1)))
    with pytest.raises(LimitExceeded):
        github.attestations(REPOSITORY, DIGEST, None)
    held = json.dumps({"x": "y" * MAX_BUNDLE_BYTES}).encode()
    server.description = replace(server.description, attestations={DIGEST: [StoredBundle(held)]})
    with pytest.raises(LimitExceeded):
        github.attestations(REPOSITORY, DIGEST, None)


@given(st.binary(max_size=2000))
def test_a_block_gives_back_what_was_compressed(content: bytes) -> None:
    block = compress_block(content)
    assert declared_length(block) == len(content)
    assert decompress_block(block, 2000) == content


@given(st.binary(max_size=200))
def test_random_bytes_are_a_block_of_their_declared_length_or_none(block: bytes) -> None:
    with suppress(MalformedSnappy, LimitExceeded):
        assert len(decompress_block(block, MIB)) == declared_length(block)
