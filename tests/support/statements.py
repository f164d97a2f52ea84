"""Statements of rebuilds as an honest rebuilder would sign them, made without rebuilding anything."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from builds.domain.provenance import RebuildStatement, parse_rebuild_statement

FINISHED = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def digest_hex(letter: str, length: int = 64) -> str:
    return (letter * length)[:length]


def subject(role: str, size: int, sha256: str, sha384: str, kind: str = "built") -> dict[str, Any]:
    origin = {"size": size, "originKind": kind, "origin": "built in this rebuild"}
    return {"name": role, "digest": {"sha256": sha256, "sha384": sha384}, "annotations": origin}


def measured(value: str) -> dict[str, Any]:
    """The launch measurement of the one configuration that releases in tests are published with."""
    return {
        "name": "default",
        "bootMode": "direct_kernel",
        "vcpus": 4,
        "vcpuType": "EPYC-v4",
        "guestFeatures": 1,
        "vmm": "qemu",
        "commandLine": "console=ttyS0",
        "value": value,
    }


def statement_document(builder: str, **changed: Any) -> dict[str, Any]:
    """A complete statement as JSON; ``changed`` replaces its parts by name (subjects, tag, commit, ...)."""
    part: dict[str, Any] = {
        "subjects": [subject("kernel", 4, digest_hex("a"), digest_hex("b", 96))],
        "project": "enclave",
        "tag": "v1.0.0",
        "commit": "c" * 40,
        "uri": "file:///nowhere",
        "epoch": 1_700_000_000,
        "recipe": {"origin": "source-tree", "sha256": digest_hex("d")},
        "materials": [{"name": "dash 0.5 (amd64)", "digest": {"sha256": digest_hex("e")}}],
        "invocation": str(uuid.uuid4()),
        "finished": FINISHED,
        "environment": {"engine_version": "20.10", "kernel": "6.1"},
        "files": [],
        "measurements": [],
        "log": digest_hex("f"),
        "network": False,
        **changed,
    }
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": part["subjects"],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://tee-portal.org/rebuild/v1",
                "externalParameters": {
                    "project": part["project"],
                    "tag": part["tag"],
                    "source": {"uri": part["uri"], "commit": part["commit"]},
                    "sourceDateEpoch": part["epoch"],
                    "recipe": part["recipe"],
                    "launchValues": {},
                },
                "internalParameters": {"asksForNetwork": part["network"]},
                "resolvedDependencies": [
                    {"uri": part["uri"], "digest": {"gitCommit": part["commit"]}},
                    *part["materials"],
                ],
            },
            "runDetails": {
                "builder": {"id": builder, "version": {"tee-portal": "0.1.0"}},
                "metadata": {
                    "invocationId": part["invocation"],
                    "startedOn": (part["finished"] - timedelta(minutes=1)).isoformat(),
                    "finishedOn": part["finished"].isoformat(),
                },
                "byproducts": [
                    {"name": "log", "digest": {"sha256": part["log"]}},
                    {"name": "environment", "annotations": part["environment"]},
                    {"name": "files", "annotations": {"entries": part["files"]}},
                    {"name": "launch-measurements", "annotations": {"entries": part["measurements"]}},
                ],
            },
        },
    }


def encoded(document: dict[str, Any]) -> bytes:
    """The document as a rebuilder encodes it."""
    return read(document).encode()


def read(document: dict[str, Any]) -> RebuildStatement:
    return parse_rebuild_statement(json.dumps(document).encode())
