"""The portal's own key: made once, kept from others, and every failure of it named without showing it."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from attestations.services.portal_key import portal_key
from attestations.signing import (
    EngineSigner,
    SigningFailed,
    SigningLibraryMissing,
    UnusableSigningKey,
    _spelled,
    portal_signer,
)
from builds.domain.dsse import IN_TOTO_PAYLOAD
from builds.pipeline.signing import KeyAlgorithm, generate
from tee_portal.env import BASE_DIR, Environment

BOTH = pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
RACER = """
import sys
from attestations.signing import portal_signer
sys.stdin.read()
print(portal_signer(sys.argv[1], generate=True).public.fingerprint)
"""


def public_file(folder: Path, algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256) -> Path:
    path = folder / f"{algorithm}.pub"
    path.write_text(generate(folder / f"{algorithm}.pem", algorithm).public.pem)
    return path


@BOTH
def test_a_key_file_signs_and_may_be_held_against_its_public_key(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    public = public_file(tmp_path, algorithm)
    signer = portal_signer(str(tmp_path / f"{algorithm}.pem"), public)
    signer.public.verify(signer.sign(IN_TOTO_PAYLOAD, b"payload"))
    generate(tmp_path / "other.pem", algorithm)
    with pytest.raises(UnusableSigningKey, match="not the private part"):
        portal_signer(str(tmp_path / "other.pem"), public)


@pytest.mark.parametrize("unset", [None, ""])
def test_the_default_key_is_made_on_first_use_and_stays(tmp_path: Path, settings: Any, unset: str | None) -> None:
    settings.DATA_DIR = tmp_path
    settings.ENVIRONMENT = Environment(signing_key=unset)
    first = portal_key().public
    path = tmp_path / "keys" / "portal.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert portal_key().public == first


def test_a_named_key_that_is_not_there_is_never_made(tmp_path: Path, settings: Any) -> None:
    settings.ENVIRONMENT = Environment(signing_key=str(tmp_path / "key.pem"))
    with pytest.raises(UnusableSigningKey, match="No such file"):
        portal_key()
    assert not list(tmp_path.iterdir())


def test_of_many_processes_that_make_the_key_at_once_all_use_one(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "portal.pem"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path)],
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    said = {racer.communicate(timeout=60)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    assert said == {f"{portal_signer(str(path)).public.fingerprint}\n"}
    assert [entry.name for entry in path.parent.iterdir()] == ["portal.pem"]


def test_of_many_threads_that_make_the_key_at_once_all_use_one(tmp_path: Path) -> None:
    path = str(tmp_path / "keys" / "portal.pem")
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: portal_signer(path, generate=True).public.fingerprint, range(64)))
    assert len(set(made)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_reach_is_refused_and_told_how_to_mend(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    generate(path)
    path.chmod(mode)
    for make in (False, True):
        with pytest.raises(UnusableSigningKey, match="others may read") as caught:
            portal_signer(str(path), generate=make)
        assert caught.value.todo == f"chmod 600 {path}"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(UnusableSigningKey):
        portal_signer(str(tmp_path / "keys" / "below" / "portal.pem"), generate=True)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("pkcs11:token=portal;pin-value=1234", "no engine is known by pkcs11:"),
        ("file:/etc/key.pem", "no engine is known by file:"),
        ("gpg:ABCD", "no engine is known by gpg:"),
        ("HSM:2", "no engine is known by HSM:"),
    ],
)
def test_an_address_of_an_unknown_kind_is_refused_by_name(tmp_path: Path, reference: str, reason: str) -> None:
    with pytest.raises(UnusableSigningKey, match=reason) as caught:
        portal_signer(reference, public_file(tmp_path))
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference", "extra", "library"),
    [
        ("awskms:alias/portal", "awskms", "botocore"),
        ("awskms:///alias/portal", "awskms", "botocore"),
        ("azurekms://vault.vault.azure.net/keys/portal/1", "azurekms", "azure"),
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "gcpkms", "google"),
        ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "gcpkms", "google"),
        ("hsm:2?label=portal", "hsm", "pkcs11"),
        ("hv:portal/1", "vault", "hvac"),
    ],
)
def test_an_absent_library_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, extra: str, library: str
) -> None:
    for loaded in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, library, None)
    algorithm = KeyAlgorithm.ED25519 if extra == "vault" else KeyAlgorithm.ECDSA_P256
    with pytest.raises(SigningLibraryMissing) as caught:
        portal_signer(reference, public_file(tmp_path, algorithm))
    assert caught.value.todo.endswith(f"pip install 'securesystemslib[{extra}]'")


def test_addresses_as_cosign_spells_them_name_the_same_keys() -> None:
    assert _spelled("gcpkms://projects/p") == _spelled("gcpkms:projects/p") == "gcpkms:projects/p"
    assert _spelled("awskms:///alias/a") == _spelled("awskms:alias/a") == "awskms:alias/a"
    assert _spelled("azurekms://v.vault.azure.net/keys/k/1") == "azurekms://v.vault.azure.net/keys/k/1"


def test_a_key_in_an_engine_needs_its_public_key_and_of_the_right_kind(tmp_path: Path) -> None:
    with pytest.raises(UnusableSigningKey, match="known by its public key"):
        portal_signer("hsm:2")
    with pytest.raises(UnusableSigningKey, match="signs with ecdsa-p256"):
        portal_signer("hsm:2", public_file(tmp_path, KeyAlgorithm.ED25519))
    with pytest.raises(UnusableSigningKey, match="the public key cannot be read"):
        portal_signer("hsm:2", tmp_path / "none")
    (tmp_path / "no.pub").write_bytes(b"\xff no key")
    with pytest.raises(UnusableSigningKey, match="is no public key"):
        portal_signer("hsm:2", tmp_path / "no.pub")


def test_an_address_that_the_engines_library_cannot_read_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="hsm: answered ValueError"):
        portal_signer("hsm:two", public_file(tmp_path))


def test_an_engine_without_its_library_file_or_pin_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = public_file(tmp_path)
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(UnusableSigningKey, match="asks for a pin") as caught:
        portal_signer("hsm:2", public).sign(IN_TOTO_PAYLOAD, b"payload")
    assert "TEE_PORTAL_SIGNING_PIN" in caught.value.todo
    with pytest.raises(SigningFailed, match="PYKCS11LIB"):
        portal_signer("hsm:2", public, pin=SecretStr("1234")).sign(IN_TOTO_PAYLOAD, b"payload")


class Elsewhere:
    """An engine that signs with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.signer = generate(folder / "elsewhere.pem")

    def sign(self, covered: bytes) -> Any:
        return type("Signature", (), {"signature": self.signer.sign("", covered).signature.hex()})


def test_a_signature_by_another_key_than_the_configured_one_is_not_given_out(tmp_path: Path) -> None:
    public = portal_signer(str(tmp_path / "key.pem"), generate=True).public
    signer = EngineSigner(public, "hsm", Elsewhere(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(SigningFailed, match="does not hold under"):
        signer.sign(IN_TOTO_PAYLOAD, b"payload")


def test_neither_key_nor_pin_is_ever_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "key.pem"
    signer = portal_signer(str(path), generate=True)
    secret = path.read_text().splitlines()[1]
    told = [repr(signer), str(signer)]
    path.chmod(0o644)
    engine = portal_signer("hsm:2?label=portal", public_file(tmp_path), pin=SecretStr("pin-7391"))
    told += [repr(engine), repr(Environment(signing_pin=SecretStr("pin-7391")))]
    attempts = [
        lambda: portal_signer(str(path)),
        lambda: portal_signer(path.read_text()),
        lambda: engine.sign(IN_TOTO_PAYLOAD, b"payload"),
    ]
    for attempt in attempts:
        with pytest.raises((UnusableSigningKey, SigningFailed)) as caught:
            attempt()
        told += [str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)]
    everything = "\n".join([*told, caplog.text])
    assert secret not in everything
    assert "pin-7391" not in everything
