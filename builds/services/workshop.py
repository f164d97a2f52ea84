"""The portal's own engine, store, mirror and limits, as configured."""

from __future__ import annotations

import hashlib

from django.conf import settings

from builds.pipeline.engine import DockerEngine
from builds.pipeline.engine_types import Limits
from builds.pipeline.material_store import MaterialStore
from builds.pipeline.mirror import Mirror

REBUILD_LABEL = "org.tee-portal.rebuild"
INSTANCE_LABEL = "org.tee-portal.instance"


def instance() -> str:
    """Names this portal on an engine that several may share; the same on all its hosts."""
    return hashlib.sha256(b"tee-portal instance " + settings.SECRET_KEY.encode()).hexdigest()[:16]


def labels(build: str) -> dict[str, str]:
    """Labels of everything one build creates in the engine."""
    return {INSTANCE_LABEL: instance(), REBUILD_LABEL: build}


def engine() -> DockerEngine:
    return DockerEngine(settings.DOCKER_HOST)


def store() -> MaterialStore:
    return MaterialStore(settings.MATERIAL_STORE)


def mirror() -> Mirror:
    return Mirror(settings.DEBIAN_MIRROR)


def limits() -> Limits:
    environment = settings.ENVIRONMENT
    return Limits(
        stage_seconds=environment.stage_timeout_seconds,
        memory_bytes=environment.build_memory_bytes,
        cpus=environment.build_cpus,
        log_bytes=environment.max_log_bytes,
        disk_bytes=environment.max_build_disk_bytes,
        min_free_disk_bytes=environment.min_free_disk_bytes,
        output_bytes=environment.max_output_bytes,
    )
