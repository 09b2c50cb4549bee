"""Stage 2/7 of `/v1/files`: a form with one file in it, which goes to the disk as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles

from inference.file_store import CHUNK, Draft
from inference.openai_api.fields import problem
from inference.services.files import INPUT
from llamagpu.http.fields import StrictSerializer
from llamagpu.http.large_bodies import attached_body
from monitoring.configuration import current

MAX_NAME_LENGTH = 255
_HOUR, _DAY = 3600, 86_400


class ExpirySerializer(StrictSerializer):
    anchor = serializers.ChoiceField(choices=["created_at"])
    seconds = serializers.IntegerField(min_value=_HOUR, max_value=30 * _DAY)


class FileSerializer(StrictSerializer):
    """Form of POST /v1/files. `expires_after` comes as `expires_after[anchor]` and `[seconds]`."""

    file = serializers.FileField()
    purpose = serializers.ChoiceField(choices=[INPUT])
    expires_after = ExpirySerializer(required=False)


class _FieldsSerializer(FileSerializer):
    """The same where the file was received already."""

    file = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was received and what shall become of it; `lifetime` in seconds."""

    draft: Draft
    filename: str
    purpose: str
    lifetime: int | None


class ReceivedFile:
    """What stands among a request's files. Django closes it with the request."""

    def __init__(self, draft: Draft, filename: str) -> None:
        self.draft = draft
        self.filename = filename

    def close(self) -> None:
        self.draft.discard()


class _Receiver(FileUploadHandler):
    """Takes one file named `file`. Raises ValidationError, and AppError as `Draft` does."""

    chunk_size = CHUNK

    _draft: Draft
    _filename: str
    _has_begun = False

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        if field_name != "file":
            raise problem(field_name[:64], "Unknown field: it is refused rather than ignored.")
        if self._has_begun:
            raise problem("file", "Is there twice: one file a call is taken.")
        self._draft = Draft(current().max_file_bytes)
        self._has_begun = True
        self._filename = file_name[-MAX_NAME_LENGTH:]

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._draft.write(raw_data)

    def file_complete(self, file_size: int) -> Any:
        return ReceivedFile(self._draft, self._filename)

    def upload_interrupted(self) -> None:
        """The form ends in the middle of the file."""
        self.abort()

    def abort(self) -> None:
        if self._has_begun:
            self._draft.discard()


class UploadParser(BaseParser):
    """Reads the form from the file in which the web server holds it, or from the stream."""

    media_type = "multipart/form-data"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> DataAndFiles[Any, Any]:
        request: HttpRequest = (parser_context or {})["request"]._request
        body = attached_body(request)
        receiver = _Receiver()
        meta = {**request.META, "CONTENT_TYPE": media_type}
        try:
            if body is not None:
                body.seek(0)
            data, files = MultiPartParser(meta, body or stream, [receiver]).parse()  # type: ignore[arg-type]
        except MultiPartParserError as error:
            receiver.abort()
            raise ParseError(f"The form cannot be read: {error}") from error
        except Exception:
            receiver.abort()
            raise
        finally:
            if body is not None:
                body.close()
        return DataAndFiles(data, files)


def read_upload(request: Any) -> Upload:
    """Raises ValidationError, ParseError and AppError; what was received does not stay then."""
    form, files = request.data, request.FILES
    fields: dict[str, Any] = {}
    for name in form:
        if name == "file" and name in files:
            continue  # REST framework puts both together
        values = form.getlist(name)
        if len(values) != 1:
            raise problem(name, "Is there twice.")
        outer, _, inner = name.partition("[")
        if inner.endswith("]"):
            fields.setdefault(outer, {})[inner[:-1]] = values[0]
        else:
            fields[name] = values[0]
    received = files.get("file")
    if "file" in fields or received is None:
        raise problem("file", "Is required, as a file with a name.")
    serializer = _FieldsSerializer(data=fields)
    serializer.is_valid(raise_exception=True)
    checked = serializer.validated_data
    lifetime = checked.get("expires_after", {}).get("seconds")
    return Upload(received.draft, received.filename, checked["purpose"], lifetime)
