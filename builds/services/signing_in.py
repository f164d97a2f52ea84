"""How often somebody may try to sign in. Counted in the database, so that it holds over all of the server's processes.

Three counts bound who guesses: of one account from one address, of any accounts from one address, and of one account
from anywhere. The last two would let a stranger keep somebody out, so a browser that signed in to the account before
carries a proof of that, and is counted by itself.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.core.signing import BadSignature, dumps, loads
from django.utils import timezone
from django.utils.crypto import salted_hmac

from builds.domain.access import Allowance
from builds.domain.errors import PortalError
from builds.domain.printable import compared_name
from builds.models import SignInAttempt

WINDOW = timedelta(minutes=15)
OF_ONE_PLACE = Allowance(10, WINDOW)
"""Of one account from one address; also of one account in a browser that is known."""
FROM_ONE_ADDRESS = Allowance(50, WINDOW)
TO_ONE_ACCOUNT = Allowance(100, WINDOW)
KNOWN_FOR = timedelta(days=90)
_SALT = "builds.signing_in"


class TooManySignIns(PortalError):
    """As many sign-ins failed as may within a while."""

    code: ClassVar[str] = "too-many-sign-ins"
    default_todo: ClassVar[str] = (
        "A browser in which you signed in to this account before is not held up by what others try."
    )

    def __init__(self, next_possible: datetime, now: datetime) -> None:
        self.retry_after = seconds_until(next_possible, now)
        minutes = -(-self.retry_after // 60)
        what = f"Too many sign-ins failed. The next try is possible in {minutes} minute{'' if minutes == 1 else 's'}"
        super().__init__(what, where="sign-in")


def seconds_until(moment: datetime, now: datetime) -> int:
    """Whole seconds, rounded up, at least one: what ``Retry-After`` says."""
    return max(1, -int(-(moment - now).total_seconds() // 1))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a sign-in comes from: an address ("" when there is none) and what the browser shows ("" for nothing)."""

    address: str
    proof: str = ""


def begin(name: str, visitor: Visitor) -> SignInAttempt:
    """Count a try before the password is looked at; ``TooManySignIns`` when there were enough, which counts as none.

    The row is written first and the rows are counted then, so that tries at the same moment see each other.
    """
    now = timezone.now()
    SignInAttempt.objects.filter(at__lte=now - WINDOW).delete()
    device = _device_key(name, visitor.proof)
    attempt = SignInAttempt.objects.create(
        name_key=_key(compared_name(name)), address_key=_key(visitor.address), device_key=device, at=now
    )
    earlier = SignInAttempt.objects.exclude(pk=attempt.pk)
    if device:
        counted = [(OF_ONE_PLACE, earlier.filter(name_key=attempt.name_key, device_key=device))]
    else:
        strangers = earlier.filter(device_key="")
        of_name = strangers.filter(name_key=attempt.name_key)
        counted = [
            (OF_ONE_PLACE, of_name.filter(address_key=attempt.address_key)),
            (FROM_ONE_ADDRESS, strangers.filter(address_key=attempt.address_key)),
            (TO_ONE_ACCOUNT, of_name),
        ]
    waits = [
        allowance.next_possible(list(rows.order_by("-at").values_list("at", flat=True)[: allowance.limit]), now)
        for allowance, rows in counted
    ]
    possible = max((wait for wait in waits if wait is not None), default=None)
    if possible is not None:
        attempt.delete()
        raise TooManySignIns(possible, now)
    return attempt


def succeeded(attempt: SignInAttempt) -> None:
    """The password was right: what was mistyped before it from the same place is forgotten."""
    SignInAttempt.objects.filter(
        name_key=attempt.name_key, address_key=attempt.address_key, device_key=attempt.device_key
    ).delete()


def proof_for(name: str) -> str:
    """What a browser keeps to show that it signed in to the account; it opens nothing by itself."""
    return dumps([_key(compared_name(name)), secrets.token_urlsafe(16)], salt=_SALT)


def _device_key(name: str, proof: str) -> str:
    try:
        of_name, device = loads(proof, salt=_SALT, max_age=KNOWN_FOR)
    except BadSignature:
        return ""
    return _key(device) if of_name == _key(compared_name(name)) else ""


def _key(text: str) -> str:
    return salted_hmac(_SALT, text, algorithm="sha256").hexdigest()
