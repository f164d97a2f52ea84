"""Takes the files of an announced release out of a request as they come: to disk, hashed on the way, never into memory.

What surrounds the files is read by Django's own parser. It is told here that names are not to be repaired: a file that
was sent as ``../manifest.json`` is refused, not taken for another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.http import parse_header_parameters

from attestations.domain.publication import MOST_FILES, asset_name, refuse_colliding
from attestations.domain.publication_errors import (
    AnnouncementRefused,
    AssetTooLarge,
    FieldsNotFirst,
    UploadIncomplete,
)
from attestations.patient_body import PatientBody
from attestations.services.announcing import AnnouncedFile
from attestations.services.spool import Spool, expect_space
from builds.domain.errors import DiskFull, PortalError, UnsafePath
from builds.domain.printable import one_line

_CHUNK = 1024 * 1024
_CHECKED_EVERY = 64 * _CHUNK
_HEAD_ENDS = b"\r\n\r\n"
_LONGEST_HEAD = 1024
"""Bytes; Django's parser takes no longer one."""
_REPAIRED = "\ufffd"
"""What decoders put in place of what they cannot read."""

type Fields = dict[str, str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """In bytes: of one file, and of all together."""

    each: int
    together: int
    first: tuple[str, ...] = ()
    """Fields that stand before the first file."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The fields that came first, and the files in their order, which lie in the spool."""

    fields: Fields
    files: tuple[AnnouncedFile, ...]

    @property
    def fingerprint(self) -> bytes:
        """What was sent, by whatever boundary: the same for the same fields and files."""
        files = [file.as_dict() for file in self.files]
        return json.dumps({"fields": self.fields, "files": files}, sort_keys=True).encode()


def take_body(body: PatientBody) -> bytes:
    """All of it, for what is bounded already. Raises ``UploadIncomplete`` and ``UploadTooSlow``."""
    try:
        return body.read()
    except UnreadablePostError as error:
        raise UploadIncomplete("the connection broke before it was whole", where="the body") from error


def take_upload(
    header: Mapping[str, Any], body: PatientBody, spool: Spool, bounds: Bounds, permit: Callable[[Fields], None]
) -> Upload:
    """Read a ``multipart/form-data`` request. ``permit`` is asked about the fields before a file is kept, and raises.

    Raises an ``AnnouncementRefused``, ``UploadTooSlow``, ``AssetTooLarge``, ``UnsafePath``, ``DiskFull`` and what
    ``permit`` raises.
    """
    if not int(header.get("CONTENT_LENGTH") or 0):
        raise AnnouncementRefused("the request is empty, or does not say how long it is", where="Content-Length")
    handler = _ToSpool(spool, bounds, permit)
    try:
        read = _ReadHeads(body, _boundary(header))
        parser = _Parser(header, read, [handler], "utf-8")  # type: ignore[arg-type] # it calls nothing but read
        handler.parser = parser
        parser.parse()
    except (MultiPartParserError, TooManyFieldsSent, TooManyFilesSent, RequestDataTooBig) as error:
        raise AnnouncementRefused("the request is no form with files as it is asked for", where="the body") from error
    except UnreadablePostError as error:
        raise UploadIncomplete("the connection broke before the files were whole", where="the body") from error
    finally:
        handler.close()
    if handler.is_interrupted:
        raise UploadIncomplete("the request ended in the middle of a file", where="the body")
    fields = parser.fields()
    if handler.permitted is None:
        permit(fields)
    elif fields != handler.permitted:
        raise FieldsNotFirst("a field came after the first file", where="the body")
    return Upload(fields, tuple(handler.files))


def _boundary(header: Mapping[str, Any]) -> bytes:
    """As that parser reads it, which refuses a form without one."""
    _, parameters = parse_header_parameters(str(header.get("CONTENT_TYPE", "")))
    return str(parameters.get("boundary", "")).encode("ascii", "replace")


class _ReadHeads:
    """A body whose parts' heads are UTF-8. Django's parser would pass over a part whose head is not, with its file.

    What it does not find by this, as heads that are too long, that parser refuses.
    """

    def __init__(self, body: PatientBody, boundary: bytes) -> None:
        self._body = body
        self._delimiter = b"--" + boundary
        self._unread = b""

    def read(self, size: int | None = None) -> bytes:
        data = self._body.read(size)
        self._look_at(data)
        return data

    def _look_at(self, data: bytes) -> None:
        self._unread += data
        while (begin := self._unread.find(self._delimiter)) >= 0:
            end = self._unread.find(_HEAD_ENDS, begin)
            if end < 0 and len(self._unread) - begin <= _LONGEST_HEAD:
                self._unread = self._unread[begin:]
                return
            _expect_utf8(self._unread[begin : end if end >= 0 else begin + _LONGEST_HEAD])
            self._unread = self._unread[max(end, begin + len(self._delimiter)) :]
        self._unread = self._unread[-len(self._delimiter) :]


def _expect_utf8(head: bytes) -> None:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        todo = "Write the names of files in UTF-8."
        raise AnnouncementRefused("the name of a file or field is not UTF-8", where="the body", todo=todo) from error


class _Parser(MultiPartParser):
    """Django's, which hands over names as they came."""

    _post: QueryDict

    def sanitize_file_name(self, file_name: str) -> str:
        if _REPAIRED in file_name:
            raise UnsafePath(f"{one_line(file_name, 100)!r} is not UTF-8", where="name of an asset")
        return asset_name(file_name)

    def fields(self) -> Fields:
        """Those that came so far; ``AnnouncementRefused`` for one that came twice."""
        repeated = [name for name, values in self._post.lists() if len(values) > 1]
        if repeated:
            raise AnnouncementRefused("a field is given more than once", where="the body")
        return {name: str(value) for name, value in self._post.items()}


class _ToSpool(FileUploadHandler):
    """Writes each file to the spool under its own name."""

    chunk_size = _CHUNK

    def __init__(self, spool: Spool, bounds: Bounds, permit: Callable[[Fields], None]) -> None:
        super().__init__()
        self.parser: _Parser | None = None
        self.files: list[AnnouncedFile] = []
        self.permitted: Fields | None = None
        self.is_interrupted = False
        self._spool = spool
        self._bounds = bounds
        self._permit = permit
        self._open: BinaryIO | None = None
        self._name = ""
        self._hashed = hashlib.sha256()
        self._size = self._together = self._unchecked = 0

    def new_file(  # noqa: PLR0917 - as Django calls it
        self,
        field_name: str,
        file_name: str,
        content_type: str,
        content_length: int | None,
        charset: str | None = None,
        content_type_extra: dict[str, bytes] | None = None,
    ) -> None:
        if not field_name:
            # Django's parser would not say when it ends.
            raise AnnouncementRefused("a file comes under no field's name", where="the body")
        if self.permitted is None:
            self._begin()
        refuse_colliding([*(file.name for file in self.files), file_name])
        if len(self.files) >= MOST_FILES:
            raise AnnouncementRefused(f"it has more than {MOST_FILES} files", where="the body")
        self._name, self._hashed, self._size = file_name, hashlib.sha256(), 0
        try:
            self._open = (self._spool.sent / file_name).open("xb")
        except OSError as error:
            raise _not_kept(error, file_name) from error

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._size += len(raw_data)
        self._together += len(raw_data)
        self._unchecked += len(raw_data)
        if self._size > self._bounds.each:
            raise AssetTooLarge(f"it has more than {self._bounds.each} bytes", where=self._name)
        if self._together > self._bounds.together:
            raise AssetTooLarge(f"the files have more than {self._bounds.together} bytes together", where=self._name)
        if self._unchecked >= _CHECKED_EVERY:
            self._unchecked = 0
            expect_space(_CHECKED_EVERY)
        self._hashed.update(raw_data)
        if self._open is not None:
            try:
                self._open.write(raw_data)
            except OSError as error:
                raise _not_kept(error, self._name) from error

    def file_complete(self, file_size: int) -> None:
        try:
            self.close()
        except OSError as error:
            raise _not_kept(error, self._name) from error
        self.files.append(AnnouncedFile(self._name, sha256=self._hashed.hexdigest(), size=self._size))

    def upload_interrupted(self) -> None:
        self.is_interrupted = True

    def close(self) -> None:
        """Close the file that is being written, if there is one."""
        file, self._open = self._open, None
        if file is not None:
            file.close()

    def _begin(self) -> None:
        """Nothing is kept of what nobody may send."""
        if self.parser is None:
            raise TypeError("a handler needs its parser")
        fields = self.parser.fields()
        late = [name for name in self._bounds.first if name not in fields]
        if late or not fields:
            raise FieldsNotFirst(f"a file came before the field {', '.join(late)}", where="the body")
        self._permit(fields)
        self.permitted = fields
        try:
            self._spool.sent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_kept(error, "work directory") from error


def _not_kept(error: OSError, where: str) -> PortalError:
    todo = "Free space on the portal's disk, then announce the release again."
    return DiskFull(f"a file cannot be kept: {error.strerror}", where=where, todo=todo)
