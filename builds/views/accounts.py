"""Signing in and out, and the page of one's own with tokens and requests."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from builds.domain.access import Scope
from builds.domain.errors import PortalError
from builds.domain.printable import one_line
from builds.forms import PasswordForm, SignInForm, TokenForm
from builds.models import ApiToken
from builds.public_address import asked_from, public_base
from builds.services import access, signing_in
from builds.services.account_page import account_page, token_row
from builds.services.signing_in import Visitor
from builds.views.cursors import cursor

KNOWN_COOKIE = "known"


class SignIn(LoginView):
    """Django's own; tries are counted, and a browser that was let in once is known by a cookie."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"visitor": visitor(self.request)}

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        self.request.session.clear_expired()
        response.set_cookie(
            KNOWN_COOKIE,
            signing_in.proof_for(form.get_user().get_username()),
            max_age=signing_in.KNOWN_FOR,
            path=self.request.path,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        if form.refused is not None:
            response.status_code = 429
            response["Retry-After"] = str(form.refused.retry_after)
        return response


def visitor(request: HttpRequest) -> Visitor:
    """Where a request comes from, as sign-ins are counted."""
    return Visitor(asked_from(request), request.COOKIES.get(KNOWN_COOKIE, ""))


@require_safe
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The administration's own page would not count tries: there is one place to sign in."""
    query = request.GET.urlencode()
    return redirect(f"{reverse_lazy('sign-in')}{'?' if query else ''}{query}")


@method_decorator(never_cache, name="dispatch")
class PasswordChange(PasswordChangeView):
    """Every other session of the account ends with it, by what Django keeps in each; tokens go on."""

    template_name = "accounts/password.html"
    form_class = PasswordForm
    success_url = reverse_lazy("account")

    def form_valid(self, form: Any) -> HttpResponse:
        messages.success(self.request, "Your password was changed, and every other session of yours has ended.")
        return super().form_valid(form)


@never_cache
@login_required
@require_safe
def account(request: HttpRequest) -> HttpResponse:
    return _account(request, TokenForm())


@never_cache
@login_required
@require_POST
def create_token(request: HttpRequest) -> HttpResponse:
    """Make a token. Its secret stands on this one answer, which nothing may keep, and is nowhere afterwards."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _account(request, form, status=400)
    scopes = [Scope(value) for value in form.cleaned_data["scopes"]]
    try:
        made = access.create_token(signed_in(request), form.cleaned_data["name"], scopes, form.cleaned_data["days"])
    except PortalError as error:
        form.add_error(None, f"{error.what}. {error.todo}")
        return _account(request, form, status=409)
    row = token_row(made.token, timezone.now())
    context = {"row": row, "secret": made.secret, "here": public_base(request)}
    return render(request, "accounts/token_made.html", context, status=201)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Ask whether, then revoke. Another account's token is not there."""
    token = get_object_or_404(ApiToken, pk=token_id, account=signed_in(request))
    if request.method != "POST":
        return render(request, "accounts/token_revoke.html", {"row": token_row(token, timezone.now())})
    access.revoke_token(token)
    messages.success(request, f"The token “{one_line(token.name)}” is revoked: whatever sends it is refused.")
    return redirect("account")


def signed_in(request: HttpRequest) -> User:
    """Who asks, in a view that only they reach who signed in."""
    if not isinstance(request.user, User):
        raise TypeError("this view is for those who signed in")
    return request.user


def _account(request: HttpRequest, form: TokenForm, status: int = 200) -> HttpResponse:
    page = account_page(signed_in(request), before=cursor(request))
    return render(request, "accounts/account.html", {"page": page, "form": form}, status=status)
