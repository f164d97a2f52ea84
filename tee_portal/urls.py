"""Addresses of the pages and the API."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import path, register_converter
from django.views.generic import RedirectView

from attestations import views as attestation_views
from builds.domain.search import Kind, recognise
from builds.views import (
    accounts,
    badges,
    comparing,
    digests,
    feeds,
    home,
    logs,
    meaning,
    missing,
    operators,
    projects,
    rebuilds,
    releases,
    requests,
    search,
    webhooks,
)
from tee_portal import problem_pages
from tee_portal.api import api


class TagConverter:
    """A git tag: may hold slashes and plus signs, and no control characters or spaces (git-check-ref-format)."""

    regex = r"[^\s\x00-\x1f]+?"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class Sha256Converter:
    """What has a SHA-256, by it: in hex, or with its algorithm before it, as the API writes every digest.

    What is no digest comes through, so that the view says so by name.
    """

    regex = r"[^/]+"

    def to_python(self, value: str) -> str:
        return value.removeprefix("sha256:")

    def to_url(self, value: str) -> str:
        return value


class MeasurementConverter:
    """A launch measurement as everybody writes it: without ``0x`` and spaces, in lower case.

    What is none comes through, so that the view says so by name.
    """

    regex = r"[^/]+"

    def to_python(self, value: str) -> str:
        return recognise(value).value(Kind.SHA384) or value

    def to_url(self, value: str) -> str:
        return value


STATEMENT_FILES = {
    "bundle": ".rebuild.sigstore.json",
    "key": ".rebuild.pub",
    "dsse": ".dsse.json",
    "received": ".received.json",
}

handler400 = "tee_portal.error_pages.bad_request"
handler403 = "tee_portal.error_pages.forbidden"
handler404 = "tee_portal.error_pages.not_found"
handler500 = "tee_portal.error_pages.failed"

register_converter(TagConverter, "tag")
register_converter(Sha256Converter, "hex")
register_converter(MeasurementConverter, "measurement")
admin.autodiscover()

urlpatterns = [
    path("", home.home, name="home"),
    path("search/", search.search, name="search"),
    path("releases/", releases.releases, name="releases"),
    path("signin/", accounts.SignIn.as_view(), name="sign-in"),
    path("signout/", LogoutView.as_view(), name="sign-out"),
    path("password/", accounts.PasswordChange.as_view(), name="password-change"),
    path("account/", accounts.account, name="account"),
    path("account/tokens", accounts.create_token, name="create-token"),
    path("account/tokens/<int:token_id>/revoke", accounts.revoke_token, name="revoke-token"),
    # Before the administration's own, which would not count who guesses passwords.
    path("admin/login/", accounts.admin_sign_in),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password-change")),
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls),
    path("problems/", problem_pages.problems, name="problems"),
    path("problems/<slug:code>/", problem_pages.problem, name="problem"),
    path("attestations/<hex:sha256>/bundle.json", attestation_views.raw_bundle, name="raw-bundle"),
    path("trust-roots/<hex:sha256>.json", attestation_views.raw_trust_root, name="raw-trust-root"),
    path("portal.pub", attestation_views.portal_key_file, name="portal-key"),
    path("portal-keys/<hex:fingerprint>.pub", attestation_views.portal_key_file, name="portal-key-by-fingerprint"),
    path("verdicts/<hex:sha256>.vsa.sigstore.json", attestation_views.signed_verdict, {"form": "bundle"}, "vsa-bundle"),
    path("verdicts/<hex:sha256>.dsse.json", attestation_views.signed_verdict, {"form": "dsse"}, "vsa-envelope"),
    path("policies/<hex:sha256>.json", attestation_views.policy_document, name="policy"),
    path("mirror/<path:path>", attestation_views.mirror_file, name="mirror-file"),
    path("webhooks/github", attestation_views.github_webhook, name="github-webhook"),
    path("releases/<slug:project>/<tag:tag>/rebuild", requests.request_rebuild, name="request-rebuild"),
    path("releases/<slug:project>/<tag:tag>/materials", releases.materials, name="release-materials"),
    path("documents/<hex:sha256>", releases.document, name="document"),
    path("releases/<slug:project>/<tag:tag>/", releases.release, name="release"),
    path("projects/<slug:project>/missing/", missing.what_is_missing, name="missing"),
    path("compare/rebuilds/", comparing.compare_rebuilds, name="compare-rebuilds"),
    path("compare/<slug:project>/", comparing.compare_releases, name="compare-releases"),
    path("projects/<slug:project>/", projects.project, name="project"),
    path("measurements/<str:value>/", digests.measurement, name="measurement"),
    path("components/<str:algorithm>:<str:value>/", digests.component, name="component"),
    path("rebuilders/", operators.operators, name="operators"),
    path("rebuilders/<slug:slug>/", operators.operator, name="operator"),
    path("queue/", operators.queue, name="queue"),
    path("what-a-verdict-means/", meaning.meaning, name="meaning"),
    path("statements/<hex:sha256>/", operators.statement, name="statement"),
    *(
        path(f"statements/<hex:sha256>{ending}", operators.statement_file, {"form": form}, f"statement-{form}")
        for form, ending in STATEMENT_FILES.items()
    ),
    path("rebuilder-keys/<hex:fingerprint>.pub", operators.key_file, name="rebuilder-key"),
    path("rebuilds/<uuid:rebuild_id>/", rebuilds.rebuild, name="rebuild"),
    path("rebuilds/<uuid:rebuild_id>/progress", rebuilds.rebuild_progress, name="rebuild-progress"),
    path("rebuilds/<uuid:rebuild_id>/log/", logs.log, name="rebuild-log-page"),
    path("rebuilds/<uuid:rebuild_id>/log/tail", logs.log_tail, name="rebuild-log-tail"),
    path("rebuilds/<uuid:rebuild_id>/log", logs.log_text, name="rebuild-log"),
    path("rebuilds/<uuid:rebuild_id>/log.txt", logs.log_text, {"as_file": True}, name="rebuild-log-file"),
    path("rebuilds/<uuid:rebuild_id>/cancel", rebuilds.cancel_rebuild, name="cancel-rebuild"),
    path("account/webhooks/", webhooks.webhooks, name="webhooks"),
    path("account/webhooks/<uuid:webhook_id>/", webhooks.webhook, name="webhook"),
    path("account/webhooks/<uuid:webhook_id>/secret", webhooks.new_secret, name="webhook-secret"),
    path("account/webhooks/<uuid:webhook_id>/delete", webhooks.delete, name="webhook-delete"),
    *(
        path(f"account/webhooks/<uuid:webhook_id>/{what}", webhooks.change, {"what": what}, f"webhook-{what}")
        for what in webhooks.CHANGES
    ),
    path("account/webhooks/<uuid:webhook_id>/<int:number>/again", webhooks.send_again, name="webhook-again"),
    path("feeds/all.atom", feeds.feed, name="feed"),
    path("feeds/<slug:project>.atom", feeds.project_feed, name="project-feed"),
    path("feeds/<slug:project>/<tag:tag>.atom", feeds.release_feed, name="release-feed"),
    *(
        path(f"badges/<slug:project>{inside}.{form}", badges.badge, {"form": form}, f"{kind}-badge{ending}")
        for form, ending in (("svg", ""), ("json", "-json"))
        for kind, inside in (("project", ""), ("release", "/<tag:tag>"))
    ),
]
