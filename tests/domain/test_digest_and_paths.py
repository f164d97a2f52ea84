import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.domain.digest import Algorithm, Digest
from builds.domain.errors import MalformedInput, UnsafePath
from builds.domain.paths import file_name, relative_path

HEX = "0123456789abcdef"


@given(st.sampled_from(Algorithm), st.data())
def test_every_digest_survives_being_written_and_read(algorithm: Algorithm, data: st.DataObject) -> None:
    value = data.draw(st.text(HEX, min_size=algorithm.hex_length, max_size=algorithm.hex_length))
    digest = Digest(algorithm, value)
    assert Digest.parse(str(digest)) == digest
    assert Digest.parse(str(digest).upper().replace(algorithm.upper(), algorithm)) == digest


@given(st.sampled_from(Algorithm), st.text(max_size=140))
def test_nothing_but_hex_of_the_right_length_is_a_digest(algorithm: Algorithm, text: str) -> None:
    valid = len(text) == algorithm.hex_length and set(text) <= set(HEX)
    if valid:
        assert Digest(algorithm, text).hex == text
    else:
        with pytest.raises(MalformedInput):
            Digest(algorithm, text)


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", "md5:" + "0" * 32, "sha256:" + "0" * 63, "sha256:" + "g" * 64, ":" + "0" * 64]
)
def test_a_text_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput):
        Digest.parse(text)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", "a\nb", ".", "..", "a\x7f"])
def test_a_path_that_leaves_its_directory_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        relative_path(path, where="test")


@given(st.text(max_size=60))
def test_an_accepted_path_never_climbs_and_is_never_absolute(text: str) -> None:
    try:
        path = relative_path(text, where="test")
    except UnsafePath:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts


def test_a_file_name_has_no_directory() -> None:
    assert file_name("vmlinuz", where="test") == "vmlinuz"
    with pytest.raises(UnsafePath):
        file_name("boot/vmlinuz", where="test")
    with pytest.raises(UnsafePath):
        file_name("vmlinuz/", where="test")
