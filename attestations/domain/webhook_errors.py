"""What can go wrong between the portal and the receivers of its webhooks; each has its own name."""

from __future__ import annotations

from typing import ClassVar

from builds.domain.errors import MalformedInput, PortalError


class WebhookAddressRefused(MalformedInput):
    """An address that no webhook may have."""

    code: ClassVar[str] = "webhook-address-refused"
    default_todo: ClassVar[str] = "Give an address like https://example.org/hooks/tee-portal."


class WebhookNotHttps(WebhookAddressRefused):
    """An address without TLS: anybody between could read what is sent, and answer for the receiver."""

    code: ClassVar[str] = "webhook-not-https"


class WebhookAddressWithCredentials(WebhookAddressRefused):
    """A name or password in the address, which logs would show."""

    code: ClassVar[str] = "webhook-address-with-credentials"
    default_todo: ClassVar[str] = "Leave them out: every delivery is signed, which says more about who sends it."


class WebhookOddPort(WebhookAddressRefused):
    """A port on which no receiver of webhooks listens, but other services do."""

    code: ClassVar[str] = "webhook-odd-port"
    default_todo: ClassVar[str] = "Receive on port 443 or 8443."


class WebhookPrivateAddress(WebhookAddressRefused):
    """A host that is not on the public internet: this machine, its network, or a cloud's metadata service."""

    code: ClassVar[str] = "webhook-private-address"
    default_todo: ClassVar[str] = "Give a name all of whose addresses are public ones."


class WebhookFailure(PortalError):
    """A delivery did not arrive; it is tried again unless the last try was its last."""

    code: ClassVar[str] = "webhook-failure"
    default_todo: ClassVar[str] = "Look at the receiver and at what it logged."


class WebhookUnknownHost(WebhookFailure):
    """The receiver's name has no address."""

    code: ClassVar[str] = "webhook-unknown-host"


class WebhookUnreachable(WebhookFailure):
    """No connection, no TLS that can be trusted, or the connection broke."""

    code: ClassVar[str] = "webhook-unreachable"


class WebhookTooSlow(WebhookFailure):
    """No whole answer in the time that a delivery may take."""

    code: ClassVar[str] = "webhook-too-slow"
    default_todo: ClassVar[str] = "Let the receiver answer first and work afterwards."


class WebhookNotHttp(WebhookFailure):
    """What was answered is not HTTP, or has no end."""

    code: ClassVar[str] = "webhook-not-http"


class WebhookNotAccepted(WebhookFailure):
    """The receiver answered something else than 2xx."""

    code: ClassVar[str] = "webhook-not-accepted"


class WebhookRedirected(WebhookFailure):
    """The receiver answered with another address, where nothing is sent."""

    code: ClassVar[str] = "webhook-redirected"
    default_todo: ClassVar[str] = "Redirects are not followed. Add a webhook for the other address."


class WebhookGone(WebhookFailure):
    """The receiver answered 410: it wants nothing any more."""

    code: ClassVar[str] = "webhook-gone"
    default_todo: ClassVar[str] = "Switch the webhook on again when its receiver is back."


class WebhookSecretUnreadable(PortalError):
    """The stored secret cannot be opened: the portal's secret key is another one than it was sealed with."""

    code: ClassVar[str] = "webhook-secret-unreadable"
    default_todo: ClassVar[str] = "Make a new secret for it, give that to the receiver, and switch it on again."


class WebhookSwitchedOff(PortalError):
    """Its owner wants nothing to be sent."""

    code: ClassVar[str] = "webhook-switched-off"
    default_todo: ClassVar[str] = "Switch it on to be told of what changes from then on."


class TooManyWebhooks(PortalError):
    """An account has as many as it may have."""

    code: ClassVar[str] = "too-many-webhooks"
    default_todo: ClassVar[str] = "Delete one that is not needed any more."


class WebhookKnown(PortalError):
    """The account has this webhook already."""

    code: ClassVar[str] = "webhook-known"
    default_todo: ClassVar[str] = "Use the one that is there; it can have a new secret."


class DeliveryWaits(PortalError):
    """What is asked for is about to be sent anyway."""

    code: ClassVar[str] = "webhook-delivery-waits"
    default_todo: ClassVar[str] = "Wait for it to be sent; the list of deliveries shows when."
