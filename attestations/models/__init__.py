"""Trust roots, expected publishers, bundles and findings, recorded verdicts, whom to tell of them,
and announced releases."""

from attestations.models.bundles import BundleRecord, FindingRecord, Inquiry, Sighting
from attestations.models.mirror import MirroredPart, MirroredRelease, MirrorSequence
from attestations.models.publications import AssetHost, ProjectPublisher, Publication
from attestations.models.publishers import (
    ExpectedPublisher,
    FollowedRelease,
    Following,
    StoredAnswer,
    TrustRootRecord,
    TrustRootVersion,
    provenance_only,
    public_good_only,
)
from attestations.models.verdicts import PortalKey, VerdictRecord
from attestations.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "AssetHost",
    "BundleRecord",
    "ExpectedPublisher",
    "FindingRecord",
    "FollowedRelease",
    "Following",
    "Inquiry",
    "MirrorSequence",
    "MirroredPart",
    "MirroredRelease",
    "PortalKey",
    "ProjectPublisher",
    "Publication",
    "Sighting",
    "StoredAnswer",
    "TrustRootRecord",
    "TrustRootVersion",
    "VerdictRecord",
    "Webhook",
    "WebhookDelivery",
    "provenance_only",
    "public_good_only",
]
