"""Raw bundles and trust roots, byte for byte, and the address that GitHub's webhooks call."""

from __future__ import annotations

import logging
from typing import ClassVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from attestations import tasks
from attestations.api import SHA256, stored_bundle
from attestations.domain.github_errors import BadWebhookSignature, MalformedDelivery
from attestations.domain.mirror import CHECKPOINT_FILE
from attestations.domain.webhook import EVENT_HEADER, SIGNATURE_HEADER, parse_delivery, verify_signature
from attestations.mirror_tree import published_file
from attestations.models import PortalKey, TrustRootVersion, VerdictRecord
from attestations.services import following
from attestations.services.portal_key import portal_key
from attestations.services.verdicts import bundle_of
from attestations.vendored_roots import public_good
from builds.conditional import conditional
from builds.domain.errors import PortalError
from builds.raw_files import BLOB_TYPE, BUNDLE_TYPE, ENVELOPE_TYPE, OPEN, PEM_TYPE, raw_file
from builds.services.absent import MIRRORED, POLICY, PORTAL_KEY, TRUST_ROOT, VERDICT, NotHere, the_one

logger = logging.getLogger(__name__)

_KEY_SECONDS = 300


class KeyAway(PortalError):
    """The key that verdicts are signed with cannot be had."""

    code: ClassVar[str] = "portal-key-away"
    default_todo: ClassVar[str] = "Ask again later; the keys of recorded verdicts are served by their fingerprints."


@require_safe
def raw_bundle(request: HttpRequest, sha256: str) -> HttpResponse:
    """A bundle's bytes as they were received."""
    bundle = stored_bundle(sha256)
    return raw_file(request, bytes(bundle.content), f"{bundle.sha256}.sigstore.json", BUNDLE_TYPE)


@require_safe
def raw_trust_root(request: HttpRequest, sha256: str) -> HttpResponse:
    """A trust root's bytes, by their digest, so that a check can be repeated with exactly the same root."""
    if public_good().ref.sha256 == sha256:
        content = public_good().data
    else:
        version = TrustRootVersion.objects.filter(sha256=sha256).first() if SHA256.fullmatch(sha256) else None
        if version is None:
            raise NotHere(TRUST_ROOT, f"sha256:{sha256}")
        content = bytes(version.content)
    return raw_file(request, content, "trusted_root.json", "application/json")


@require_safe
def portal_key_file(request: HttpRequest, fingerprint: str | None = None) -> HttpResponse:
    """A public key that verdicts are signed with: the current one, or one by its fingerprint, also long after."""
    if fingerprint is None:
        try:
            pem = portal_key().public.pem
        except PortalError as error:
            # Where the key lies is not for strangers.
            logger.error("the portal's key cannot be used: %s", error)  # noqa: TRY400 - named
            return _refused(KeyAway("the portal's key cannot be used right now", where="portal.pub"), 503)
        response = conditional(request, HttpResponse(pem, content_type=PEM_TYPE), seconds=_KEY_SECONDS)
        response[OPEN] = "*"
        return response
    key = the_one(PortalKey.objects.filter(fingerprint=fingerprint), PORTAL_KEY, f"sha256:{fingerprint}")
    return raw_file(request, key.pem.encode(), f"{fingerprint}.pub", PEM_TYPE)


@require_safe
def signed_verdict(request: HttpRequest, sha256: str, form: str) -> HttpResponse:
    """A signed summary by the digest of its payload: as a Sigstore bundle, or as the DSSE envelope that was signed."""
    rows = VerdictRecord.objects.select_related("key").filter(payload_sha256=sha256)
    record = the_one(rows, VERDICT, f"sha256:{sha256}")
    if form == "dsse":
        return raw_file(request, bytes(record.envelope or b""), f"{sha256}.dsse.json", ENVELOPE_TYPE)
    return raw_file(request, bundle_of(record), f"{sha256}.vsa.sigstore.json", BUNDLE_TYPE)


@require_safe
def policy_document(request: HttpRequest, sha256: str) -> HttpResponse:
    """The bytes of a policy that a summary names by this digest."""
    record = VerdictRecord.objects.filter(policy_sha256=sha256).only("policy").first()
    if record is None:
        raise NotHere(POLICY, f"sha256:{sha256}")
    return raw_file(request, bytes(record.policy), f"{sha256}.policy.json", "application/json")


@require_safe
def mirror_file(request: HttpRequest, path: str) -> HttpResponse:
    """A file of the mirror as it was published last, for who asks the portal itself for its checkpoint."""
    directory = settings.ENVIRONMENT.mirror_dir
    data = published_file(directory, path) if directory is not None else None
    if data is None:
        raise NotHere(MIRRORED, path)
    kind = "application/json" if path.endswith(".json") else BLOB_TYPE
    response = raw_file(request, data, path.rpartition("/")[2], kind)
    if path == CHECKPOINT_FILE:
        response["Cache-Control"] = "public, max-age=30"
    return response


@csrf_exempt
@require_POST
def github_webhook(request: HttpRequest) -> JsonResponse:
    """A delivery is a hint to look at once; what it says of a release is never believed."""
    secret = settings.ENVIRONMENT.github_webhook_secret
    key = secret.get_secret_value().encode() if secret is not None else b""
    try:
        verify_signature(key, request.body, request.headers.get(SIGNATURE_HEADER))
        repository = parse_delivery(request.headers.get(EVENT_HEADER, ""), request.body)
    except BadWebhookSignature as error:
        return _refused(error, 401)
    except MalformedDelivery as error:
        return _refused(error, 400)
    followed = following.ask_soon(repository) if repository is not None else None
    if followed is not None:
        tasks.hint(followed)
    return JsonResponse({"synchronising": followed is not None}, status=202)


def _refused(error: PortalError, status: int) -> JsonResponse:
    return JsonResponse(error.as_dict(), status=status)
