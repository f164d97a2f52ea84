"""Django settings: one file, every outside value read by ``tee_portal.env``."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP
from kombu import Queue

from tee_portal.env import BASE_DIR, read_environment

# Lets generic Django classes be subscripted at run time, as their type stubs have them.
django_stubs_ext.monkeypatch()

ENVIRONMENT = read_environment()

DATA_DIR = ENVIRONMENT.data_dir
DATA_DIR.mkdir(parents=True, exist_ok=True)


def _secret_key() -> str:
    """The configured key, or one generated once and kept readable by the owner only."""
    if ENVIRONMENT.secret_key is not None:
        return ENVIRONMENT.secret_key.get_secret_value()
    path = DATA_DIR / "secret-key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        key = secrets.token_urlsafe(50)
        file.write(key)
    return key


def _database(url: str | None) -> dict[str, Any]:
    """Django's database entry for a ``postgresql://`` or ``sqlite:///`` address; SQLite by default."""
    if url is None:
        return _sqlite(DATA_DIR / "portal.sqlite3")
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path)))
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(f"DATABASE_URL: unknown scheme {parts.scheme!r}; use postgresql:// or sqlite:///")
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or options.pop("port", "")),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


def _sqlite(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        # To open the file and read its schema takes longer than what most requests ask of it.
        "CONN_MAX_AGE": 60,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    }


SECRET_KEY = _secret_key()
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = [host for host in ENVIRONMENT.allowed_hosts.split(",") if host]

INSTALLED_APPS = [
    # Its pages are found by the addresses: a command that shows none does not load what they need.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "builds",
    "attestations",
]

MIDDLEWARE = [
    "builds.pages_first.pages_first",
    "django.middleware.security.SecurityMiddleware",
    "tee_portal.compression.AskedCompression",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "tee_portal.api_answers.api_answers",
    "tee_portal.middleware.refuse_nul",
    "tee_portal.middleware.NameDatabaseFailures",
    "tee_portal.middleware.keep_private",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

SECURE_CSP = {
    "default-src": [CSP.SELF],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
    "form-action": [CSP.SELF],
}
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# Sign-in. A session ends a week after it began, however it is used.
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "account"
LOGOUT_REDIRECT_URL = "home"
SESSION_COOKIE_AGE = 7 * 24 * 60 * 60
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENVIRONMENT.are_cookies_secure
# Behind a proxy that speaks https, requests look like http: the address that forms are sent from is then another one.
CSRF_TRUSTED_ORIGINS = [ENVIRONMENT.public_url] if ENVIRONMENT.public_url is not None else []
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

ROOT_URLCONF = "tee_portal.urls"
WSGI_APPLICATION = "tee_portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": _database(ENVIRONMENT.database_url)}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    # Of each process its own; what a list of verdicts needs lives here (attestations.services.kept_verdicts).
    "verdicts": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "verdicts",
        "OPTIONS": {"MAX_ENTRIES": 4000},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "staticfiles"
STATIC_ROOT.mkdir(exist_ok=True)
# Embedded: files are served from where they lie, so a clone needs no collectstatic step.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# What the pipeline uses.
DOCKER_HOST = ENVIRONMENT.docker_host
MATERIAL_STORE = ENVIRONMENT.material_store or DATA_DIR / "materials"
# Beside the materials and not among them: a rebuild never has a published file within reach.
FIRMWARE_STORE = MATERIAL_STORE / "published-firmware"
BASE_CACHE = DATA_DIR / "base"
WORK_DIR = DATA_DIR / "work"
DEBIAN_MIRROR = ENVIRONMENT.debian_mirror
ARCHIVE_KEYRING = ENVIRONMENT.archive_keyring
LEASE_SECONDS = ENVIRONMENT.lease_seconds

CELERY_BROKER_URL = ENVIRONMENT.redis_url or "redis://127.0.0.1:6379/0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "tee-portal"
# A rebuild takes minutes, and what else is to be done must not wait for it: verdicts, webhooks, sweeps. A worker
# that is told no queue serves all. Announced releases have one of their own too: a slow server of a publisher keeps
# nobody else waiting.
CELERY_TASK_QUEUES = (Queue("tee-portal"), Queue("tee-portal-rebuilds"), Queue("tee-portal-publications"))
CELERY_TASK_ROUTES = {
    "builds.tasks.run_rebuild": {"queue": "tee-portal-rebuilds"},
    "attestations.tasks.run_publication": {"queue": "tee-portal-publications"},
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A hint that cannot be delivered is not worth waiting for: the row is the queue. Without the last of them kombu
# tries to connect for six seconds, while a page waits.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2, "max_retries": 0}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "builds.tasks.sweep", "schedule": float(ENVIRONMENT.sweep_seconds)},
    "follow": {"task": "attestations.tasks.synchronise_due", "schedule": 60.0},
    "record verdicts": {"task": "attestations.tasks.record_verdicts", "schedule": float(ENVIRONMENT.sweep_seconds)},
    "record all verdicts": {"task": "attestations.tasks.record_all_verdicts", "schedule": 600.0},
    "verify again": {"task": "attestations.tasks.verify_again", "schedule": 900.0},
    "send webhooks": {"task": "attestations.tasks.send_webhooks", "schedule": 5.0},
    "publications": {"task": "attestations.tasks.sweep_publications", "schedule": float(ENVIRONMENT.sweep_seconds)},
    "drop old deliveries": {"task": "attestations.tasks.drop_old_deliveries", "schedule": 3600.0},
}
if ENVIRONMENT.mirror_dir is not None:
    CELERY_BEAT_SCHEDULE["publish the mirror"] = {
        "task": "attestations.tasks.publish_mirror",
        "schedule": float(ENVIRONMENT.mirror_seconds),
    }
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # Each of its retries would be told, before the one named error that says it all.
    "loggers": {"urllib3": {"level": "ERROR"}},
}
