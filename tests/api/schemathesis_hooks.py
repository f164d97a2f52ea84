"""What schemathesis is told of this API beyond its description; run by schemathesis, not by the suite itself.

Every check is on. One of them is narrowed here: a refusal of what fits the description is no finding when it is for
something that no JSON Schema can say, which ``UNSAYABLE`` lists by the refusal's code.
"""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

SEEDED: dict[str, str] = json.loads(os.environ.get("SEEDED", "{}"))
"""Values of places in addresses that the served portal knows, by "path name" or name."""

UNSAYABLE = {
    "announcement-refused": "which names may stand together, and what a form holds once, is more than a schema can say",
    "asset-address-refused": "which addresses are a project's is more than a pattern can say",
    "asset-foreign-host": "which addresses are a project's is more than a pattern can say",
    "asset-not-https": "which addresses are a project's is more than a pattern can say",
    "asset-names-collide": "which names may stand together is more than a schema can say",
    "claim-gone": "whether a claim is still held depends on the moment, as whether something is there does (404)",
    "document-not-announced": "one of the files is the release's document, which its name says",
    "fields-not-first": "the order of a form's parts is no matter of its schema",
    "idempotency-key-reused": "a key stands for one request, and which came with it before is no matter of its form",
    "malformed-address": "an address that holds NUL is none of any operation",
    "malformed-envelope": "the payload is a document in base64, whose schema is not that of the envelope",
    "malformed-job": "a stage has an end exactly when it is not running",
    "malformed-request": "the payload is a document in base64, whose schema is not that of the envelope",
    "tag-without-project": "`tag` is asked for only beside `project`",
    "two-questions": "`at` and `policy` exclude each other",
    "unknown-cursor": "whether a cursor's record is here depends on what was recorded",
    "unusable-moment": "whether a moment has passed depends on the clock",
    "unusable-policy": "each entry stands once, and an issuer needs an identity",
    "unusable-value": "which CPU types and guest features can be computed depends on the release",
    "webhook-address-refused": "which addresses are public is more than a pattern can say",
    "webhook-address-with-credentials": "which addresses are public is more than a pattern can say",
    "webhook-odd-port": "which addresses are public is more than a pattern can say",
    "webhook-private-address": "which addresses are public is more than a pattern can say",
}


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Each status must be listed by itself, and examples name what the served portal has."""
    for path, item in raw_schema["paths"].items():
        for told in item.values():
            del told["responses"]["default"]
            for parameter in told["parameters"]:
                known = SEEDED.get(f"{path} {parameter['name']}", SEEDED.get(parameter["name"]))
                if parameter["in"] == "path" and known is not None:
                    parameter["example"] = known


@schemathesis.check
def accepted_or_refused_by_a_name_that_no_schema_has(ctx: Any, response: Any, case: Any) -> bool | None:
    """``positive_data_acceptance``, which the configuration turns off under its own name."""
    if response.headers.get("content-type", [""])[0] == "application/problem+json":
        code = response.json().get("code")
        if code in UNSAYABLE:
            return None
    return positive_data_acceptance(ctx, response, case)
