"""Reference values of allowed releases in the formats of programs that appraise SEV-SNP reports.

docs/api.md names the source and version that each format was written for.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from builds.domain.launch import LaunchConfiguration
from builds.domain.printable import one_line


class ExportFormat(StrEnum):
    """What an export can be asked for as."""

    JSON = "json"
    SEV_SNP_MEASURE = "sev-snp-measure"
    SNPGUEST = "snpguest"
    RVPS = "rvps"
    CORIM = "corim"


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """One launch configuration of an allowed release: its measurement, 96 hex characters, and what it was made from.

    ``sev_snp_measure`` and ``snpguest`` are lines of a shell that print the value from the published files, empty where
    that program cannot be told this configuration.
    """

    project: str
    tag: str
    commit: str
    configuration: str
    launch: LaunchConfiguration
    command_line: str | None
    measurement: str
    coverage: tuple[str, ...]
    not_covered: tuple[str, ...]
    verdict: str
    vsa: str | None
    sev_snp_measure: tuple[str, ...]
    snpguest: tuple[str, ...]


NOTHING_ALLOWED: Final = "no release is allowed now"
RVPS_MESSAGE_VERSION: Final = "0.1.0"
RVPS_NAME: Final = "snp_launch_measurement"
"""The name under which Trustee's default CPU policy asks for launch measurements."""
CORIM_PROFILE: Final = "tag:amd.com,2024:snp-corim-profile"
_SNP_CLASS: Final = "1.3.6.1.4.1.3704.3.1"
_MEASUREMENT_KEY: Final = 641
"""MEASUREMENT of a report, as Veraison's scheme numbers its fields."""
_SHA_384: Final = 7
"""IANA's Named Information Hash Algorithm Registry."""
_NAMESPACE: Final = uuid.UUID("d5d9f0a4-3c0e-5f57-9a3e-5b6a7d1c2e90")


def as_lines(values: Iterable[ReferenceValue], program: ExportFormat) -> str:
    """Shell lines, each after comments that say what it is for and what it prints; without values one that says so."""
    lines = []
    for value in values:
        name = " ".join(map(one_line, (value.project, value.tag, value.configuration)))
        call = value.snpguest if program is ExportFormat.SNPGUEST else value.sev_snp_measure
        lines += [f"# {name}", f"# prints {'0x' if program is ExportFormat.SNPGUEST else ''}{value.measurement}"]
        lines += call or [f"# {program} cannot be told this configuration: {value.launch.vmm} is no VMM that it knows"]
    return "".join(f"{line}\n" for line in lines or [f"# {NOTHING_ALLOWED}"])


def as_rvps_message(values: Sequence[ReferenceValue]) -> dict[str, Any]:
    """A message that registers the values with Trustee's RVPS; without values it registers an empty list.

    Trustee's verifier gave a report's measurement in base64 first, and gives it in hexadecimal since; a list that holds
    each value in both spellings is right for either.
    """
    spelled = [text for value in _distinct(values) for text in (value, base64.b64encode(bytes.fromhex(value)).decode())]
    payload = json.dumps({RVPS_NAME: spelled}, separators=(",", ":")).encode()
    return {"version": RVPS_MESSAGE_VERSION, "type": "sample", "payload": base64.b64encode(payload).decode()}


def as_corim_templates(values: Sequence[ReferenceValue]) -> dict[str, Any]:
    """Templates for cocli, ``corim`` and ``comid``, whose identifiers are the same for the same values."""
    distinct = _distinct(values)
    comid_id = uuid.uuid5(_NAMESPACE, "\n".join(["comid", *distinct]))
    return {
        "corim": {
            "corim-id": str(uuid.uuid5(_NAMESPACE, f"corim\n{comid_id}")),
            "profile": {"type": "uri", "value": CORIM_PROFILE},
        },
        "comid": {
            "lang": "en-GB",
            "tag-identity": {"id": str(comid_id)},
            "triples": {"reference-values": [_triple(bytes.fromhex(value)) for value in distinct]},
        },
    }


def _triple(measurement: bytes) -> dict[str, Any]:
    """The scheme finds reference values by the measurement, which it takes for the instance."""
    return {
        "environment": {
            "class": {"id": {"type": "oid", "value": _SNP_CLASS}},
            "instance": {"type": "bytes", "value": base64.b64encode(measurement).decode()},
        },
        "measurements": [
            {
                "key": {"type": "uint", "value": _MEASUREMENT_KEY},
                "value": {"digests": [[_SHA_384, base64.urlsafe_b64encode(measurement).decode()]]},
            }
        ],
    }


def _distinct(values: Iterable[ReferenceValue]) -> list[str]:
    """Several releases may have one measurement; it is named once."""
    return sorted({value.measurement for value in values})
