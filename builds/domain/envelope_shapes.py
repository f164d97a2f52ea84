"""The shapes in which signed things travel, for readers of the API's description: ``dsse`` reads the bytes themselves.

DSSE 1.0.2 (envelope.md); Sigstore bundle v0.3 (sigstore_bundle.proto).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"

Base64 = Annotated[str, Field(pattern=_BASE64, json_schema_extra={"contentEncoding": "base64"})]


class Signature(BaseModel):
    """``sig`` is over the pre-authentication encoding of type and payload; a ``keyid`` is not relied on."""

    sig: Annotated[Base64, Field(min_length=4)]
    keyid: str | None = None


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="forbid")

    payload: Annotated[Base64, Field(min_length=4)]
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=1)]


class SignedClaim(_Envelope):
    """A DSSE envelope with exactly one signature, around a request for work."""

    payload_type: Annotated[Literal["application/vnd.tee-portal.claim.v1+json"], Field(alias="payloadType")]


class EnrolmentEnvelope(_Envelope):
    """A DSSE envelope with exactly one signature, around a request that a key be known."""

    payload_type: Annotated[Literal["application/vnd.tee-portal.enrolment.v1+json"], Field(alias="payloadType")]


class StatementEnvelope(_Envelope):
    """A DSSE envelope with exactly one signature, around an in-toto statement of a rebuild."""

    payload_type: Annotated[Literal["application/vnd.in-toto+json"], Field(alias="payloadType")]


class StatementBundle(BaseModel):
    """A Sigstore bundle around the envelope."""

    media_type: Annotated[Literal["application/vnd.dev.sigstore.bundle.v0.3+json"], Field(alias="mediaType")]
    verification_material: Annotated[dict[str, Any], Field(alias="verificationMaterial")]
    dsse_envelope: Annotated[StatementEnvelope, Field(alias="dsseEnvelope")]


class SignedStatement(RootModel[StatementEnvelope | StatementBundle]):
    """A signed statement: a DSSE envelope, or a Sigstore bundle of one."""


class SignedEnrolment(BaseModel):
    """``enrolment`` is signed by the new key; ``endorsement``, over the same payload, by the key of ``endorsedBy``."""

    model_config = ConfigDict(extra="forbid")

    enrolment: EnrolmentEnvelope
    endorsement: EnrolmentEnvelope | None = None
    endorsed_by: Annotated[str | None, Field(alias="endorsedBy")] = None
