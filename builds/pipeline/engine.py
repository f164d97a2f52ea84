"""The Docker engine: the only importer of the docker SDK; no foreign exception leaves this file.

Written for the Engine API's classic builder (20.10 to 28): ``/build`` without ``version=2``.
"""

from __future__ import annotations

import errno
import queue
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self, cast

import docker
import requests
from docker.errors import APIError, BuildError, DockerException, NotFound
from urllib3.exceptions import HTTPError

from builds.domain.errors import DiskFull, LimitExceeded, PortalError
from builds.pipeline.engine_types import (
    BuildFailed,
    BuildRequest,
    EngineInfo,
    EngineRefused,
    EngineUnreachable,
    Limits,
    OutputMissing,
)
from builds.pipeline.streams import IterableReader

_POLL_SECONDS = 0.25
_DISK_POLL_SECONDS = 2.0
_API_TIMEOUT_SECONDS = 120
_REMOVE_ATTEMPTS = 40


@contextmanager
def _named_errors(base_url: str, doing: str) -> Iterator[None]:
    """Map what the SDK and the HTTP library raise to named errors."""
    try:
        yield
    except APIError as error:
        explanation = str(error.explanation or error)[:500]
        if "no space left on device" in explanation:
            raise DiskFull(f"the engine has no space left while {doing}", where=base_url) from error
        raise EngineRefused(f"{doing}: {explanation}", where=base_url) from error
    except (DockerException, requests.RequestException, BuildError) as error:
        raise EngineUnreachable(f"the engine failed while {doing}: {str(error)[:300]}", where=base_url) from error


class DockerEngine:
    """One engine. Everything created through it carries the caller's labels."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        scheme, _, path = base_url.partition("://")
        if scheme == "unix" and not Path("/", path).is_socket():
            raise EngineUnreachable("there is no engine socket", where=base_url)
        with _named_errors(base_url, "connecting"):
            self._api = docker.APIClient(base_url=base_url, version="auto", timeout=_API_TIMEOUT_SECONDS)

    def close(self) -> None:
        self._api.close()

    def info(self) -> EngineInfo:
        with _named_errors(self._base_url, "asking for its version"):
            answer = self._api.info()
        return EngineInfo(
            version=str(answer["ServerVersion"]),
            kernel=str(answer["KernelVersion"]),
            operating_system=str(answer["OperatingSystem"]),
            storage_driver=str(answer["Driver"]),
            cpus=int(answer["NCPU"]),
            memory_bytes=int(answer["MemTotal"]),
            root_dir=Path(str(answer["DockerRootDir"])),
        )

    def load_image(self, archive: Path, check: Callable[[], None]) -> None:
        """Load a ``docker save`` archive; names and labels are the archive's own."""
        with _named_errors(self._base_url, "loading the base image"), archive.open("rb") as file:
            for message in cast("Any", self._api).load_image(IterableReader(_chunks(file, check))):
                if "error" in message:
                    raise EngineRefused(f"loading the base image: {message['error']}", where=str(archive.name))

    def pull_image(self, reference: str) -> None:
        """Pull an image pinned as ``name@sha256:digest``; the engine checks the digest."""
        with _named_errors(self._base_url, f"pulling {reference}"):
            self._api.pull(reference)

    def build(
        self, request: BuildRequest, limits: Limits, log: Callable[[str], None], check: Callable[[], None]
    ) -> str:
        """Build one stage and return the image id. ``check`` is called several times a second.

        Raises ``BuildFailed``, ``LimitExceeded`` (time, log, disk), ``DiskFull``,
        ``EngineUnreachable`` or whatever ``check`` raises; in each case the engine's build is
        stopped before this returns.
        """
        stream = _BuildStream(self._api, self._base_url, request, limits)
        watch = _Watch(self, request, limits)
        logged = 0
        with stream:
            for message in stream.messages():
                check()
                watch.look()
                if message is None:
                    continue
                if (text := message.get("stream")) is not None:
                    logged += len(text.encode("utf-8", "replace"))
                    if logged > limits.log_bytes:
                        raise LimitExceeded(
                            f"the build log is longer than {limits.log_bytes} bytes", where=f"stage {request.stage}"
                        )
                    log(text)
                elif "error" in message:
                    raise _build_error(message, request.stage)
        image_id = stream.image_id
        if image_id is None:
            raise BuildFailed("the build ended without an image", where=f"stage {request.stage}")
        return image_id

    def export(
        self,
        image: str,
        path: str,
        destination: Path,
        *,
        labels: Mapping[str, str],
        max_bytes: int,
        check: Callable[[], None],
    ) -> None:
        """Copy one regular file out of an image, holes and all bytes bounded by ``max_bytes``."""
        with _named_errors(self._base_url, f"copying {path} out of the image"):
            container = self._api.create_container(image, command=["none"], labels=dict(labels), network_disabled=True)
            try:
                try:
                    stream, _ = self._api.get_archive(container["Id"], path)
                except NotFound as error:
                    raise OutputMissing(f"the image has no {path}", where=path) from error
                _write_single_member(cast("Iterator[bytes]", stream), path, destination, max_bytes, check)
            finally:
                self._api.remove_container(container["Id"], force=True, v=True)

    def writable_bytes(self, labels: Mapping[str, str]) -> int:
        """Bytes that running containers with these labels have written so far."""
        with _named_errors(self._base_url, "measuring containers"):
            containers = self._api.containers(size=True, filters={"label": _filters(labels)})
        return sum(int(container.get("SizeRw") or 0) for container in containers)

    def remove_labelled(self, labels: Mapping[str, str]) -> int:
        """Remove every container and image with all these labels; returns how many there were.

        Children go before parents: a pass removes what it can, and passes repeat while they help.
        """
        removed = 0
        with _named_errors(self._base_url, "removing leftovers"):
            for _ in range(_REMOVE_ATTEMPTS):
                containers = self._api.containers(all=True, filters={"label": _filters(labels)})
                images = self._api.images(all=True, filters={"label": _filters(labels)})
                if not containers and not images:
                    return removed
                gone = sum(self._remove_container(entry["Id"]) for entry in containers)
                gone += sum(self._remove_image(entry["Id"]) for entry in images)
                removed += gone
                if not gone:
                    time.sleep(_POLL_SECONDS)
        raise EngineRefused(
            f"{len(containers)} containers and {len(images)} images could not be removed", where=self._base_url
        )

    def label_values(self, label: str, having: Mapping[str, str]) -> set[str]:
        """All values of ``label`` on containers and images that have the labels ``having``."""
        with _named_errors(self._base_url, "listing labels"):
            entries = [
                *self._api.containers(all=True, filters={"label": _filters(having)}),
                *self._api.images(all=True, filters={"label": _filters(having)}),
            ]
        return {value for entry in entries if (value := (entry.get("Labels") or {}).get(label))}

    def _remove_container(self, container_id: str) -> int:
        return _removed(lambda: self._api.remove_container(container_id, force=True, v=True))

    def _remove_image(self, image_id: str) -> int:
        return _removed(lambda: self._api.remove_image(image_id, force=True, noprune=False))


def _removed(remove: Callable[[], object]) -> int:
    """1 when it went, 0 when it was gone already or something still stands on it."""
    try:
        remove()
    except NotFound:
        return 0
    except APIError as error:
        if error.status_code != requests.codes.conflict:
            raise
        return 0
    return 1


class _Watch:
    """Time and disk limits of one build, looked at between log messages."""

    def __init__(self, engine: DockerEngine, request: BuildRequest, limits: Limits) -> None:
        self._engine = engine
        self._request = request
        self._limits = limits
        self._deadline = time.monotonic() + limits.stage_seconds
        self._next_disk = time.monotonic() + _DISK_POLL_SECONDS
        self._root = engine.info().root_dir

    def look(self) -> None:
        now = time.monotonic()
        where = f"stage {self._request.stage}"
        if now > self._deadline:
            raise LimitExceeded(f"the stage ran longer than {self._limits.stage_seconds:.0f} seconds", where=where)
        if now < self._next_disk:
            return
        written = self._engine.writable_bytes(self._request.labels)
        if written > self._limits.disk_bytes:
            raise LimitExceeded(f"the build wrote more than {self._limits.disk_bytes} bytes", where=where)
        # A remote engine's root is not a path here; then only its own limits protect it.
        if self._root.is_dir() and shutil.disk_usage(self._root).free < self._limits.min_free_disk_bytes:
            raise DiskFull(
                f"less than {self._limits.min_free_disk_bytes} bytes are free for the engine", where=str(self._root)
            )
        self._next_disk = time.monotonic() + _DISK_POLL_SECONDS


class _BuildStream:
    """Reads a build's progress on a thread, so that a silent build can still be watched and stopped."""

    def __init__(self, api: docker.APIClient, base_url: str, request: BuildRequest, limits: Limits) -> None:
        self._api = api
        self._base_url = base_url
        self._request = request
        self._limits = limits
        self._queue: queue.Queue[dict[str, Any] | BaseException | None] = queue.Queue(maxsize=10_000)
        self._response: requests.Response | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"build-{request.stage}", daemon=True)
        self.image_id: str | None = None

    def __enter__(self) -> Self:
        self._api.hooks["response"] = [self._remember]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection, which makes the engine stop the build, and wait for the reader."""
        self._stopping.set()
        if self._thread.is_alive() and self._response is not None:
            # It may have ended by itself between the two looks.
            with suppress(RuntimeError, ValueError):
                self._response.raw.shutdown()
        while self._thread.is_alive():
            with _drained(self._queue):
                self._thread.join(_POLL_SECONDS)
        self._api.hooks["response"] = []
        if self._response is not None:
            self._response.close()

    def messages(self) -> Iterator[dict[str, Any] | None]:
        """Progress messages as they come, and None whenever there was none for a moment."""
        while True:
            try:
                message = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                yield None
                continue
            if message is None:
                return
            if isinstance(message, BaseException):
                with _named_errors(self._base_url, f"building stage {self._request.stage}"):
                    raise message
            if (auxiliary := message.get("aux")) and "ID" in auxiliary:
                self.image_id = str(auxiliary["ID"])
            yield message

    def _remember(self, response: requests.Response, *_: object, **__: object) -> None:
        if response.request.path_url.partition("?")[0].endswith("/build"):
            self._response = response

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            with self._request.context.open("rb") as context:
                for message in self._start(context):
                    if self._stopping.is_set():
                        return
                    self._queue.put(message)
        except (DockerException, requests.RequestException) as error:
            end = error
        except (HTTPError, OSError, ValueError) as error:
            # The SDK reads the raw stream: a connection cut off in the middle of a message shows as any of these.
            end = DockerException(f"the connection to the engine broke: {error}")
        self._queue.put(end)

    def _start(self, context: IO[bytes]) -> Iterator[dict[str, Any]]:
        container_limits: dict[str, Any] = {"memory": self._limits.memory_bytes, "memswap": self._limits.memory_bytes}
        if self._limits.cpus:
            container_limits["cpusetcpus"] = self._limits.cpus
        return cast(
            "Iterator[dict[str, Any]]",
            self._api.build(
                fileobj=context,
                custom_context=True,
                dockerfile=self._request.dockerfile,
                buildargs=dict(self._request.build_args),
                labels=dict(self._request.labels),
                network_mode=None if self._request.network else "none",
                nocache=True,
                rm=True,
                forcerm=True,
                pull=False,
                decode=True,
                container_limits=cast("Any", container_limits),
            ),
        )


@contextmanager
def _drained(messages: queue.Queue[Any]) -> Iterator[None]:
    """Make room, so that a reader blocked on a full queue can end."""
    while True:
        try:
            messages.get_nowait()
        except queue.Empty:
            break
    yield


def _build_error(message: Mapping[str, Any], stage: str) -> PortalError:
    text = str(message["error"]).strip()[:500]
    if "no space left on device" in text:
        return DiskFull(f"the engine has no space left: {text}", where=f"stage {stage}")
    code = (message.get("errorDetail") or {}).get("code")
    return BuildFailed(text, where=f"stage {stage}", exit_code=int(code) if code is not None else None)


def _filters(labels: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in labels.items()]


def _chunks(file: IO[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    while chunk := file.read(1024 * 1024):
        check()
        yield chunk


def _write_single_member(
    stream: Iterator[bytes], path: str, destination: Path, max_bytes: int, check: Callable[[], None]
) -> None:
    """Write the one regular file that a get-archive stream must hold; nothing is unpacked by name."""
    reader = IterableReader(stream)
    try:
        with tarfile.open(fileobj=reader, mode="r|") as archive:
            member = archive.next()
            if member is None or not member.isreg():
                raise OutputMissing(f"{path} is not a regular file in the image", where=path)
            if member.size > max_bytes:
                raise LimitExceeded(f"{path} is larger than {max_bytes} bytes", where=path)
            source = archive.extractfile(member)
            if source is None:
                raise OutputMissing(f"{path} is not a regular file in the image", where=path)
            with destination.open("xb") as target:
                for chunk in _chunks(source, check):
                    target.write(chunk)
    except tarfile.TarError as error:
        raise OutputMissing(f"the engine's archive of {path} is unreadable: {error}", where=path) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"no space left while copying {path} out of the image", where=str(destination)) from error
        raise
