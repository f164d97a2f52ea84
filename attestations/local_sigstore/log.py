"""A transparency log: an RFC 6962 tree with signed checkpoints, and Rekor's promises (signed entry timestamps)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# Verifiers look for the checkpoint's signer by the host of the log's address in the trust root.
ORIGIN = "log.local.invalid"
ADDRESS = f"https://{ORIGIN}"
_TREE_ID = 1
_LEAF, _NODE = b"\x00", b"\x01"


@dataclass
class TransparencyLog:
    """An append-only log; the frontier (roots of its perfect subtrees, largest first) is all it keeps."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    size: int = 0
    _frontier: list[bytes] = field(default_factory=list)

    @property
    def public_der(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def log_id(self) -> bytes:
        """sha256 of the public key (RFC 6962, 3.2)."""
        return hashlib.sha256(self.public_der).digest()

    def append(self, body: bytes, kind: tuple[str, str], integrated_at: datetime | None) -> dict[str, object]:
        """Log a canonicalised body; a bundle's TransparencyLogEntry, with a promise when a time is given."""
        index = self.size
        proof = self._frontier[::-1]
        self._push(hashlib.sha256(_LEAF + body).digest())
        root = self._root()
        entry: dict[str, object] = {
            "logIndex": str(index),
            "logId": {"keyId": _b64(self.log_id)},
            "kindVersion": {"kind": kind[0], "version": kind[1]},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": _b64(root),
                "treeSize": str(self.size),
                "hashes": [_b64(sibling) for sibling in proof],
                "checkpoint": {"envelope": self._checkpoint(root, has_promise=integrated_at is not None)},
            },
            "canonicalizedBody": _b64(body),
        }
        if integrated_at is not None:
            seconds = int(integrated_at.timestamp())
            entry["integratedTime"] = str(seconds)
            entry["inclusionPromise"] = {"signedEntryTimestamp": _b64(self._promise(body, index, seconds))}
        return entry

    def _push(self, node: bytes) -> None:
        size = self.size
        while size & 1:
            node = hashlib.sha256(_NODE + self._frontier.pop() + node).digest()
            size >>= 1
        self._frontier.append(node)
        self.size += 1

    def _root(self) -> bytes:
        nodes = self._frontier[::-1]
        root = nodes[0]
        for left in nodes[1:]:
            root = hashlib.sha256(_NODE + left + root).digest()
        return root

    def _checkpoint(self, root: bytes, *, has_promise: bool) -> str:
        """A signed note; Rekor v1, which alone gives promises, names its tree after the host."""
        origin = f"{ORIGIN} - {_TREE_ID}" if has_promise else ORIGIN
        note = f"{origin}\n{self.size}\n{_b64(root)}\n"
        signature = self.log_id[:4] + self.key.sign(note.encode(), ec.ECDSA(SHA256()))
        return f"{note}\n\N{EM DASH} {ORIGIN} {_b64(signature)}\n"

    def _promise(self, body: bytes, index: int, seconds: int) -> bytes:
        payload = {
            "body": _b64(body),
            "integratedTime": seconds,
            "logID": self.log_id.hex(),
            "logIndex": index,
        }
        return self.key.sign(canonical(payload), ec.ECDSA(SHA256()))


def canonical(document: object) -> bytes:
    """RFC 8785, for documents of ASCII text and whole numbers."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
