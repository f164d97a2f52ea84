"""Root, intermediate, logs and timestamp authority of one trust domain, and the bundles it issues."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestations.domain.policy import GITHUB_HOSTED, GITHUB_ISSUER, SLSA_PROVENANCE_V1
from attestations.domain.statement import PAYLOAD_TYPE
from attestations.local_sigstore.certificates import Authority, authority, leaf
from attestations.local_sigstore.log import ADDRESS, TransparencyLog, canonical
from attestations.local_sigstore.timestamps import timestamp_response
from builds.domain.digest import Digest

_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_LIFETIME = timedelta(days=3650)


class Logging(StrEnum):
    """How a bundle proves when and that it was signed."""

    REKOR_V1 = "rekor-v1"
    """A log entry with promise (SET), inclusion proof and checkpoint."""
    REKOR_V2 = "rekor-v2"
    """A hashedrekord 0.0.2 entry with proof and checkpoint, and an RFC 3161 timestamp."""
    TIMESTAMP_ONLY = "timestamp-only"
    """No log, as GitHub's own instance for private repositories."""


@dataclass(frozen=True, slots=True)
class GitHubWorkflow:
    """What GitHub's OIDC token says of a workflow run; ``signer_*`` differ when a reusable workflow signs."""

    repository: str = "example/reference-enclave"
    workflow: str = ".github/workflows/release-tee.yml"
    ref: str = "refs/tags/v1.0.0"
    commit: str = "0" * 40
    repository_id: str = "100001"
    owner_id: str = "200002"
    run: str = "300003"
    issuer: str = GITHUB_ISSUER
    runner_environment: str = GITHUB_HOSTED
    signer_uri: str = ""

    @property
    def config_uri(self) -> str:
        return f"https://github.com/{self.repository}/{self.workflow}@{self.ref}"

    @property
    def san(self) -> str:
        return self.signer_uri or self.config_uri

    @property
    def claims(self) -> Mapping[str, str]:
        """Every Fulcio extension, by the names of ``attestations.domain.identity``."""
        address = f"https://github.com/{self.repository}"
        return {
            "issuer_v1": self.issuer,
            "trigger_v1": "push",
            "workflow_commit_v1": self.commit,
            "workflow_name_v1": "release",
            "repository_v1": self.repository,
            "ref_v1": self.ref,
            "issuer": self.issuer,
            "build_signer_uri": self.san,
            "build_signer_digest": self.commit,
            "runner_environment": self.runner_environment,
            "source_repository": address,
            "source_commit": self.commit,
            "source_ref": self.ref,
            "repository_id": self.repository_id,
            "owner": f"https://github.com/{self.repository.partition('/')[0]}",
            "owner_id": self.owner_id,
            "build_config_uri": self.config_uri,
            "build_config_digest": self.commit,
            "trigger": "push",
            "run_url": f"{address}/actions/runs/{self.run}/attempts/1",
            "visibility": "public",
        }


@dataclass
class TrustDomain:
    """A whole local Sigstore. ``has_log`` False makes one like GitHub's: no log, no SCT, timestamps only."""

    name: str = "local demo trust root"
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    has_log: bool = True

    def __post_init__(self) -> None:
        self.span = (self.now - _LIFETIME, self.now + _LIFETIME)
        self._root = authority(f"{self.name}: root", self.span)
        self._issuer = authority(f"{self.name}: intermediate", self.span, self._root)
        self._stamp_root = authority(f"{self.name}: timestamp root", self.span)
        self._stamper: Authority = authority(f"{self.name}: timestamps", self.span, self._stamp_root, stamps=True)
        self._ct_key = ec.generate_private_key(ec.SECP256R1()) if self.has_log else None
        self.log = TransparencyLog()
        self._serial = 0

    def trusted_root(self) -> bytes:
        """trusted_root.json of this domain (protobuf-specs, sigstore_trustroot.proto, version 0.1)."""
        document: dict[str, object] = {
            "mediaType": _ROOT_TYPE,
            "certificateAuthorities": [self._authority(self._issuer, self._root)],
            "timestampAuthorities": [self._authority(self._stamper, self._stamp_root)],
        }
        if self._ct_key is not None:
            document["tlogs"] = [self._log_instance(self.log.key.public_key())]
            document["ctlogs"] = [self._log_instance(self._ct_key.public_key())]
        return json.dumps(document, indent=1).encode()

    def attest(
        self,
        subjects: Mapping[str, Digest],
        workflow: GitHubWorkflow,
        *,
        logging: Logging = Logging.REKOR_V1,
        predicate_type: str = SLSA_PROVENANCE_V1,
    ) -> bytes:
        """A bundle v0.3 over an in-toto statement v1 with these subjects, signed as this workflow."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {d.algorithm.value: d.hex}} for name, d in subjects.items()],
            "predicateType": predicate_type,
            "predicate": _provenance(workflow),
        }
        return self.sign_payload(json.dumps(statement).encode(), workflow.san, workflow.claims, logging=logging)

    def sign_payload(
        self,
        payload: bytes,
        san: str,
        claims: Mapping[str, str],
        *,
        logging: Logging = Logging.REKOR_V1,
        payload_type: str = PAYLOAD_TYPE,
    ) -> bytes:
        """A bundle over any DSSE payload."""
        pae = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload
        certificate, key = self._leaf(san, claims)
        signature = key.sign(pae, ec.ECDSA(SHA256()))
        envelope = {
            "payload": _b64(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": _b64(signature)}],
        }
        if logging is Logging.REKOR_V2:
            entry = self._hashedrekord(hashlib.sha256(pae).digest(), signature, certificate)
        else:
            entry = self._dsse_entry(envelope, payload, signature, certificate)
        return self._bundle({"dsseEnvelope": envelope}, signature, certificate, entry, logging)

    def sign_message(self, message: bytes, workflow: GitHubWorkflow, *, logging: Logging = Logging.REKOR_V1) -> bytes:
        """A bundle with a message signature over a file's bytes."""
        digest = hashlib.sha256(message).digest()
        certificate, key = self._leaf(workflow.san, workflow.claims)
        signature = key.sign(digest, ec.ECDSA(Prehashed(SHA256())))
        content = {
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": _b64(digest)},
                "signature": _b64(signature),
            }
        }
        if logging is Logging.REKOR_V2:
            entry = self._hashedrekord(digest, signature, certificate)
        else:
            body = {
                "apiVersion": "0.0.1",
                "kind": "hashedrekord",
                "spec": {
                    "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
                    "signature": {"content": _b64(signature), "publicKey": {"content": _b64(_pem(certificate))}},
                },
            }
            entry = _Entry(canonical(body), ("hashedrekord", "0.0.1"))
        return self._bundle(content, signature, certificate, entry, logging)

    def _leaf(self, san: str, claims: Mapping[str, str]) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        public_key = key.public_key()
        return leaf(self._issuer, self._ct_key, public_key=public_key, san=san, claims=claims, at=self.now), key

    def _dsse_entry(self, envelope: object, payload: bytes, signature: bytes, certificate: x509.Certificate) -> _Entry:
        body = {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(canonical(envelope)).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": _b64(signature), "verifier": _b64(_pem(certificate))}],
            },
        }
        return _Entry(canonical(body), ("dsse", "0.0.1"))

    def _hashedrekord(self, digest: bytes, signature: bytes, certificate: x509.Certificate) -> _Entry:
        verifier = {
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "x509Certificate": {"rawBytes": _b64(certificate.public_bytes(Encoding.DER))},
        }
        spec = {
            "data": {"algorithm": "SHA2_256", "digest": _b64(digest)},
            "signature": {"content": _b64(signature), "verifier": verifier},
        }
        body = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}
        return _Entry(canonical(body), ("hashedrekord", "0.0.2"))

    def _bundle(
        self,
        content: Mapping[str, object],
        signature: bytes,
        certificate: x509.Certificate,
        entry: _Entry,
        logging: Logging,
    ) -> bytes:
        material: dict[str, object] = {"certificate": {"rawBytes": _b64(certificate.public_bytes(Encoding.DER))}}
        if logging is Logging.REKOR_V1:
            material["tlogEntries"] = [self.log.append(entry.body, entry.kind, self.now)]
        elif logging is Logging.REKOR_V2:
            material["tlogEntries"] = [self.log.append(entry.body, entry.kind, None)]
        if logging is not Logging.REKOR_V1:
            self._serial += 1
            stamp = timestamp_response(signature, self.now, self._serial, self._stamper.certificate, self._stamper.key)
            material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": _b64(stamp)}]}
        return json.dumps({"mediaType": _BUNDLE_TYPE, "verificationMaterial": material, **content}).encode()

    def _authority(self, *chain: Authority) -> dict[str, object]:
        certificates = [{"rawBytes": _b64(link.certificate.public_bytes(Encoding.DER))} for link in chain]
        return {
            "subject": {"organization": "local trust domain", "commonName": self.name},
            "uri": "https://local.invalid",
            "certChain": {"certificates": certificates},
            "validFor": {"start": self.span[0].isoformat().replace("+00:00", "Z")},
        }

    def _log_instance(self, key: ec.EllipticCurvePublicKey) -> dict[str, object]:
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {
            "baseUrl": ADDRESS,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": _b64(encoded),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": self.span[0].isoformat().replace("+00:00", "Z")},
            },
            "logId": {"keyId": _b64(hashlib.sha256(encoded).digest())},
        }


@dataclass(frozen=True, slots=True)
class _Entry:
    """A canonicalised log entry body with its kind and version."""

    body: bytes
    kind: tuple[str, str]


def _provenance(workflow: GitHubWorkflow) -> dict[str, object]:
    """SLSA provenance v1 in the shape of GitHub's build type (actions.github.io/buildtypes/workflow/v1)."""
    address = f"https://github.com/{workflow.repository}"
    return {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {"ref": workflow.ref, "repository": address, "path": workflow.workflow}},
            "internalParameters": {
                "github": {
                    "repository_id": workflow.repository_id,
                    "repository_owner_id": workflow.owner_id,
                    "runner_environment": workflow.runner_environment,
                }
            },
            "resolvedDependencies": [
                {"uri": f"git+{address}@{workflow.ref}", "digest": {"gitCommit": workflow.commit}}
            ],
        },
        "runDetails": {
            "builder": {"id": workflow.san},
            "metadata": {"invocationId": workflow.claims["run_url"]},
        },
    }


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
