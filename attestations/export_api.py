"""Reference values of allowed releases, for what appraises reports."""

from __future__ import annotations

import json
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from attestations.domain.reference_values import (
    ExportFormat,
    ReferenceValue,
    as_corim_templates,
    as_lines,
    as_rvps_message,
)
from attestations.services.exporting import reference_values, scope_of
from builds.json_answers import JSON
from builds.operation_rules import OperationRules, rules
from builds.public_address import public_base

router = Router()

_TEXT = "text/plain; charset=utf-8"
_LINES = {"responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}}


class LaunchOut(Schema):
    """``guest_features`` is SEV_FEATURES of the VMSA; ``command_line`` is null where firmware boots a disk."""

    boot_mode: str
    vcpus: int
    vcpu_type: str
    guest_features: int
    vmm: str
    command_line: str | None


class ReferenceValueOut(Schema):
    """``vsa`` is where the signed summary is that allows it, null while none says what holds now."""

    project: str
    tag: str
    commit: str
    configuration: str
    launch: LaunchOut
    measurement: str
    coverage: list[str]
    not_covered: list[str]
    verdict: str
    vsa: str | None


class ReferenceValuesOut(Schema):
    """Whole: what does not fit one export is refused. Empty when no release is allowed."""

    reference_values: list[ReferenceValueOut]


def _state(request: HttpRequest) -> str:
    return scope_of(request.GET.get("project")).state


@router.get("/export/policy", response={200: ReferenceValuesOut | dict[str, Any]}, openapi_extra=_LINES)
@rules(OperationRules(state=_state, refuses=(404,)))
def export_policy(
    request: HttpRequest,
    format: Annotated[ExportFormat, Query()] = ExportFormat.JSON,  # noqa: A002 - the parameter's name
    project: Annotated[str | None, Query()] = None,
) -> HttpResponse:
    """The launch measurements of every release that is allowed now, as JSON or for another program.

    ``sev-snp-measure`` and ``snpguest`` are shell lines as text, ``rvps`` is a message for Trustee, ``corim`` holds
    templates for cocli.
    """
    body = _encoded(reference_values(scope_of(project), public_base(request)), format)
    is_text = format in {ExportFormat.SEV_SNP_MEASURE, ExportFormat.SNPGUEST}
    return HttpResponse(body, content_type=_TEXT if is_text else JSON)


def _encoded(values: list[ReferenceValue], wanted: ExportFormat) -> bytes:
    match wanted:
        case ExportFormat.JSON:
            return ReferenceValuesOut(reference_values=[_out(value) for value in values]).model_dump_json().encode()
        case ExportFormat.SEV_SNP_MEASURE | ExportFormat.SNPGUEST:
            return as_lines(values, wanted).encode()
        case ExportFormat.RVPS:
            return json.dumps(as_rvps_message(values)).encode()
        case ExportFormat.CORIM:
            return json.dumps(as_corim_templates(values)).encode()


def _out(value: ReferenceValue) -> ReferenceValueOut:
    launch = value.launch
    return ReferenceValueOut(
        project=value.project,
        tag=value.tag,
        commit=value.commit,
        configuration=value.configuration,
        launch=LaunchOut(
            boot_mode=launch.boot_mode.value,
            vcpus=launch.vcpus,
            vcpu_type=launch.vcpu_type,
            guest_features=launch.guest_features,
            vmm=launch.vmm,
            command_line=value.command_line,
        ),
        measurement=value.measurement,
        coverage=list(value.coverage),
        not_covered=list(value.not_covered),
        verdict=value.verdict,
        vsa=value.vsa,
    )
