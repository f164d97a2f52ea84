"""The forms of accounts: Django's own, with tries that are counted, and the one that makes a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from builds.domain.access import LIFETIMES, OFFERED_SCOPES
from builds.services import signing_in
from builds.services.signing_in import TooManySignIns, Visitor


class SignInForm(AuthenticationForm):
    """Says the same of a name that nobody has, of one that may not sign in, and of a wrong password."""

    error_messages: Mapping[str, str] = {  # type: ignore[assignment]
        "invalid_login": "No account has this name and password. Capital letters count in both.",
        "inactive": "No account has this name and password. Capital letters count in both.",
    }

    def __init__(self, request: HttpRequest, visitor: Visitor, **rest: Any) -> None:
        super().__init__(request, **rest)
        self.fields["username"].label = "Name"
        self._visitor = visitor
        self.refused: TooManySignIns | None = None

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not name or not password:
            return super().clean()
        try:
            attempt = signing_in.begin(name, self._visitor)
        except TooManySignIns as error:
            self.refused = error
            raise ValidationError(f"{error.what}. {error.todo}", code=error.code) from error
        cleaned = super().clean()
        signing_in.succeeded(attempt)
        return cleaned


class PasswordForm(PasswordChangeForm):
    """A session that was left open does not let a stranger try old passwords for ever."""

    def clean_old_password(self) -> str:
        try:
            attempt = signing_in.begin(f"password of {self.user.pk}", Visitor(address=f"account {self.user.pk}"))
        except TooManySignIns as error:
            raise ValidationError(f"{error.what}.", code=error.code) from error
        old = super().clean_old_password()
        signing_in.succeeded(attempt)
        return old


class TokenForm(forms.Form):
    """What a new token is for, what it may do, and how long it lives."""

    name = forms.CharField(max_length=80, label="What it is for", help_text="For example: the nightly check of ci-7.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.value}: {scope.words}") for scope in OFFERED_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        label="What it may do",
        error_messages={"required": "Choose at least one."},
    )
    days = forms.TypedChoiceField(
        choices=[(days, f"{days} days") for days in LIFETIMES], coerce=int, initial=90, label="How long it is good"
    )
