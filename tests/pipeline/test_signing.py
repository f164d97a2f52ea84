"""Keys of rebuilders: kept from others, and what they sign holds for openssl too."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.pipeline.signing import (
    KeyAlgorithm,
    SignatureMismatch,
    UnusableKey,
    generate,
    read_public_key,
    read_signer,
)

BOTH = pytest.mark.parametrize("algorithm", list(KeyAlgorithm))


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


@BOTH
def test_a_signature_holds_under_its_key_and_for_openssl(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    signer = generate(tmp_path / "key.pem", algorithm)
    envelope = signer.sign(IN_TOTO_PAYLOAD, b"payload")
    signer.public.verify(envelope)
    (tmp_path / "key.pub").write_text(signer.public.pem)
    (tmp_path / "pae").write_bytes(envelope.pae)
    (tmp_path / "sig").write_bytes(envelope.signature)
    common = ("pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "key.pub", "-rawin", "-in", tmp_path / "pae")
    digest = ("-digest", "sha256") if algorithm is KeyAlgorithm.ECDSA_P256 else ()
    verified = openssl(*common, *digest, "-sigfile", tmp_path / "sig")
    assert verified.returncode == 0, verified.stderr


@BOTH
def test_a_key_is_the_same_key_from_its_file_and_from_its_public_part(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    path = tmp_path / "key.pem"
    made = generate(path, algorithm)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_signer(path).public == made.public
    public = read_public_key(made.public.pem)
    assert public == made.public
    assert public.algorithm is algorithm
    assert public.name.startswith("ni:///sha-256;")
    listed = openssl("pkey", "-in", path, "-pubout")
    assert listed.stdout == made.public.pem


@BOTH
def test_another_payload_type_key_or_signature_is_a_mismatch(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    signer, other = generate(tmp_path / "a", algorithm), generate(tmp_path / "b", algorithm)
    envelope = signer.sign(IN_TOTO_PAYLOAD, b"payload")
    for forged in (
        replace(envelope, payload=b"Payload"),
        replace(envelope, payload_type="application/json"),
        replace(envelope, signature=b""),
        other.sign(IN_TOTO_PAYLOAD, b"payload"),
    ):
        with pytest.raises(SignatureMismatch):
            signer.public.verify(forged)


def test_a_private_key_is_neither_overwritten_nor_shown(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    signer = generate(path)
    before = path.read_bytes()
    with pytest.raises(UnusableKey, match="there is a file already"):
        generate(path)
    assert path.read_bytes() == before
    assert signer.public.fingerprint in repr(signer)
    assert before.splitlines()[1].decode() not in repr(signer)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_private_key_that_others_may_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    generate(path)
    path.chmod(mode)
    with pytest.raises(UnusableKey, match="others may read") as caught:
        read_signer(path)
    assert caught.value.todo == f"chmod 600 {path}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        ("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
        ("genpkey", "-algorithm", "ED448"),
    ],
)
def test_keys_of_other_kinds_are_refused_by_name(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "key.pem"
    assert openssl(*arguments, "-out", path).returncode == 0
    path.chmod(0o600)
    with pytest.raises(UnusableKey, match="is neither an ECDSA"):
        read_signer(path)
    with pytest.raises(UnusableKey, match="is neither an ECDSA"):
        read_public_key(openssl("pkey", "-in", path, "-pubout").stdout)


def test_what_is_no_key_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(UnusableKey, match="is no unencrypted private key"):
        read_signer(path)
    with pytest.raises(UnusableKey, match="cannot be read: No such file"):
        read_signer(tmp_path / "none")
    with pytest.raises(UnusableKey, match="is no public key"):
        read_public_key("no key")
    with pytest.raises(UnusableKey, match="is no public key"):
        read_public_key("schl\u00fcssel\ud800")
