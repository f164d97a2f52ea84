"""What can go wrong when a release is announced and its assets are fetched; each has its own name."""

from __future__ import annotations

from typing import ClassVar

from builds.domain.errors import LimitExceeded, MalformedInput, PortalError


class AnnouncementRefused(MalformedInput):
    """An announcement that cannot be followed as it was sent: nothing of it was kept."""

    code: ClassVar[str] = "announcement-refused"
    default_todo: ClassVar[str] = "Correct it as docs/api.md describes announcements, and send it again."


class DocumentNotAnnounced(AnnouncementRefused):
    """No file of the announcement describes a release in a format known here."""

    code: ClassVar[str] = "document-not-announced"
    default_todo: ClassVar[str] = "Send manifest.json or build-info-TAG.txt too, byte for byte as it was published."


class AssetNamesCollide(AnnouncementRefused):
    """Two files of one name, or of names that some file systems and readers take for one."""

    code: ClassVar[str] = "asset-names-collide"
    default_todo: ClassVar[str] = "Send each file once, under names that differ in more than case."


class FieldsNotFirst(AnnouncementRefused):
    """A file came before the fields that say for which project and tag it is."""

    code: ClassVar[str] = "fields-not-first"
    default_todo: ClassVar[str] = "Send the fields project, tag and commit before the first file."


class UploadIncomplete(AnnouncementRefused):
    """The request ended before its files did."""

    code: ClassVar[str] = "upload-incomplete"
    default_todo: ClassVar[str] = "Send it again, with the same Idempotency-Key."


class UploadTooSlow(PortalError):
    """The files came too slowly, or not at all: their request keeps a thread of the portal as long as it lasts."""

    code: ClassVar[str] = "upload-too-slow"
    default_todo: ClassVar[str] = "Send them over a faster line, or announce the addresses at which they are."


class UploadsBusy(PortalError):
    """As many announcements are being sent as the portal takes at once, of all or of this account. None was read."""

    code: ClassVar[str] = "uploads-busy"
    default_todo: ClassVar[str] = "Send it again, with the same Idempotency-Key, after the seconds of Retry-After."
    retry_after: ClassVar[int] = 15
    """Seconds; how long those before it take nobody can say."""


class NotAPublisher(PortalError):
    """The account may not publish for this project, whatever its token may do."""

    code: ClassVar[str] = "not-a-publisher"
    default_todo: ClassVar[str] = "Ask the portal's administrator to add the account to the project's publishers."


class PublicationsWaiting(PortalError):
    """The project has as many announced releases that are not imported or refused yet as it may have."""

    code: ClassVar[str] = "publications-waiting"
    default_todo: ClassVar[str] = "Wait until one of them has ended; GET /api/v1/publications/ID says so."
    retry_after: ClassVar[int] = 15
    """Seconds; how long those before it take nobody can say."""


class PublicationLost(PortalError):
    """Workers died each time they had the announced release in hand; nothing says that its files are bad."""

    code: ClassVar[str] = "publication-lost"
    default_todo: ClassVar[str] = (
        "Announce it again. If that ends so too, the portal's administrator finds why in the log."
    )


class FilesGone(PortalError):
    """The files that were sent are not on the worker's disk any more."""

    code: ClassVar[str] = "publication-files-gone"
    default_todo: ClassVar[str] = "Send them again. Web server and worker need one data directory between them."


class AssetAddressRefused(MalformedInput):
    """An address from which no asset is fetched."""

    code: ClassVar[str] = "asset-address-refused"
    default_todo: ClassVar[str] = "Give an address like https://github.com/OWNER/REPOSITORY/releases/download/TAG/NAME."


class AssetNotHttps(AssetAddressRefused):
    """An address without TLS: anybody between could send other bytes."""

    code: ClassVar[str] = "asset-not-https"


class AssetAddressWithCredentials(AssetAddressRefused):
    """A name or password in the address, which logs would show."""

    code: ClassVar[str] = "asset-address-with-credentials"
    default_todo: ClassVar[str] = "Leave them out: assets are fetched as anybody may fetch them."


class AssetForeignHost(AssetAddressRefused):
    """A host or port that is not among those from which the project's assets come, named by the announcement or by a
    redirect."""

    code: ClassVar[str] = "asset-foreign-host"
    default_todo: ClassVar[str] = "Ask the portal's administrator to add the host to the project's asset hosts."


class AssetPrivateAddress(AssetAddressRefused):
    """A host that is not on the public internet: this machine, its network, or a cloud's metadata service."""

    code: ClassVar[str] = "asset-private-address"
    default_todo: ClassVar[str] = "Serve the assets under a name all of whose addresses are public ones."


class AssetUnavailable(PortalError):
    """An asset could not be had now; it is tried again a few times."""

    code: ClassVar[str] = "asset-unavailable"
    default_todo: ClassVar[str] = "Announce the release again when its server answers."


class AssetUnknownHost(AssetUnavailable):
    """The name of an asset's server has no address."""

    code: ClassVar[str] = "asset-unknown-host"


class AssetUnreachable(AssetUnavailable):
    """No connection, no TLS that can be trusted, or the connection broke."""

    code: ClassVar[str] = "asset-unreachable"


class AssetTooSlow(AssetUnavailable):
    """An asset came too slowly, or not at all, for the time that fetching may take."""

    code: ClassVar[str] = "asset-too-slow"


class AssetIncomplete(AssetUnavailable):
    """An asset ended before its stated length, or its server says nothing by which its end could be known."""

    code: ClassVar[str] = "asset-incomplete"


class AssetNotHttp(AssetUnavailable):
    """What an asset's server answered is not HTTP."""

    code: ClassVar[str] = "asset-not-http"


class AssetNotServed(PortalError):
    """An asset's server answered that it has no such file, or gives it to nobody."""

    code: ClassVar[str] = "asset-not-served"
    default_todo: ClassVar[str] = (
        "Announce a release after its assets were uploaded, and by addresses that anybody may fetch."
    )


class AssetRedirects(PortalError):
    """An asset's server leads from one address to the next too often, or to none."""

    code: ClassVar[str] = "asset-redirects"
    default_todo: ClassVar[str] = "Give the address at which the asset itself is."


class AssetEncoded(PortalError):
    """An asset came in another encoding than its own, so that its bytes would not be those that were published."""

    code: ClassVar[str] = "asset-encoded"
    default_todo: ClassVar[str] = (
        "Have the server send the file as it is to whoever asks for Accept-Encoding: identity."
    )


class AssetTooLarge(LimitExceeded):
    """An asset, or all of one release together, have more bytes than are taken here."""

    code: ClassVar[str] = "asset-too-large"


class AssetOtherDigest(PortalError):
    """What an address gave is not what the announcement says that it gives."""

    code: ClassVar[str] = "asset-other-digest"
    default_todo: ClassVar[str] = "Find out what was uploaded there, and by whom, before you announce it again."
