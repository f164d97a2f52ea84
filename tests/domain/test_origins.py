"""Origins: which explanation is given when bytes lie in several inputs, and how it reads."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from builds.domain.digest import Digest
from builds.domain.origins import (
    Authenticity,
    Candidate,
    DownloadedFile,
    OriginKind,
    PackageFile,
    SignedIndex,
    SourceFile,
    classify,
)

DIGEST = Digest.sha256("a" * 64)
INDEX = SignedIndex("trixie", Digest.sha256("b" * 64), datetime(2026, 9, 12, 7, 55, tzinfo=UTC), ("AB" * 20,))
SIGNED = Authenticity.by(INDEX)
UNSIGNED = Authenticity.unauthenticated("the lock claims none for it")

PACKAGE = PackageFile("busybox-static", "1:1.37.0-6", "usr/bin/busybox", False, SIGNED)
DECOMPRESSED = PackageFile("linux-image-6.12", "6.12.1-1", "usr/lib/modules/x.ko.xz", True, SIGNED)
FOREIGN = PackageFile("katana", "1.0", "usr/bin/katana", False, UNSIGNED)
TEXT = SourceFile("tee/init", True)
BINARY = SourceFile("prebuilt/katana", False)
DOWNLOAD = DownloadedFile("katana.tar.gz")
ALL: list[Candidate] = [PACKAGE, DECOMPRESSED, FOREIGN, TEXT, BINARY, DOWNLOAD]
subsets = st.lists(st.sampled_from(ALL), unique=True)


@given(subsets)
def test_the_order_in_which_inputs_were_found_does_not_matter(candidates: list[Candidate]) -> None:
    shuffled = sorted(candidates, key=repr)
    assert classify(DIGEST, 1, {DIGEST: candidates}) == classify(DIGEST, 1, {DIGEST: shuffled})


@given(subsets)
def test_an_empty_file_is_never_attributed(candidates: list[Candidate]) -> None:
    assert classify(DIGEST, 0, {DIGEST: candidates}).kind is OriginKind.BUILT


@given(subsets, st.integers(min_value=1))
def test_bytes_of_any_input_are_never_called_built(candidates: list[Candidate], size: int) -> None:
    built = classify(DIGEST, size, {DIGEST: candidates}).kind is OriginKind.BUILT
    assert built == (not candidates)


@given(subsets)
def test_an_authenticated_package_comes_before_source_and_source_before_opaque(candidates: list[Candidate]) -> None:
    kind = classify(DIGEST, 1, {DIGEST: candidates}).kind
    if PACKAGE in candidates or DECOMPRESSED in candidates:
        assert kind is OriginKind.PACKAGE
    elif TEXT in candidates:
        assert kind is OriginKind.SOURCE
    elif candidates:
        assert kind is OriginKind.OPAQUE


def test_bytes_as_they_lie_in_a_package_come_before_decompressed_ones() -> None:
    origin = classify(DIGEST, 1, {DIGEST: [DECOMPRESSED, PACKAGE]})
    assert origin.material == PACKAGE


def test_another_digest_is_built_here() -> None:
    origin = classify(Digest.sha256("c" * 64), 1, {DIGEST: ALL})
    assert (origin.kind, origin.sentence) == (OriginKind.BUILT, "built in this rebuild")


def test_a_package_file_names_its_package_and_the_signed_index() -> None:
    sentence = classify(DIGEST, 1, {DIGEST: [PACKAGE]}).sentence
    assert sentence == (
        "taken as is from usr/bin/busybox of package busybox-static 1:1.37.0-6; its digest is named by the signed"
        " index of trixie of 2026-09-12 07:55 UTC"
    )
    assert PACKAGE.authenticity.sentence == (
        "its digest is named by the signed index of trixie of 2026-09-12 07:55 UTC"
        f" (InRelease sha256:{'b' * 64}; signed by {'AB' * 20})"
    )


def test_each_opaque_input_says_why_it_is_opaque() -> None:
    said = {classify(DIGEST, 1, {DIGEST: [candidate]}).sentence for candidate in (FOREIGN, BINARY, DOWNLOAD)}
    assert said == {
        "taken as is from usr/bin/katana of package katana 1.0; no signed index names it: the lock claims none for it",
        "taken as is from the source tree: prebuilt/katana, a prebuilt binary",
        "taken as is from the download katana.tar.gz, pinned by its digest only",
    }


def test_a_decompressed_file_says_so() -> None:
    assert "(decompressed)" in classify(DIGEST, 1, {DIGEST: [DECOMPRESSED]}).sentence


def test_a_whole_package_is_named_as_such() -> None:
    whole = PackageFile("bash", "5.2", "", False, SIGNED)
    assert "taken as is from package bash 5.2 itself" in classify(DIGEST, 1, {DIGEST: [whole]}).sentence


@given(st.text(min_size=1, max_size=5000))
def test_a_sentence_stays_short_however_long_the_path(path: str) -> None:
    file = PackageFile("a" * 100, "1" * 150, path, True, SIGNED)
    assert len(classify(DIGEST, 1, {DIGEST: [file]}).sentence) < 1000
