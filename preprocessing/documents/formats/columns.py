"""The texts of Arrow columns of any type that holds text: strings, binary, views, dictionaries, lists, structures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from configs.errors import UserError
from preprocessing.documents.formats.fields import text_at
from preprocessing.documents.input_files import ReadCounter, open_stored
from preprocessing.documents.markup import format_of
from preprocessing.documents.signatures import START_BYTES, refuse_foreign
from preprocessing.storage import is_compressed

_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


class TextColumns:
    """The columns of a file that hold the corpus's fields: the column itself, or the part of it at a path of keys.

    Raises `UserError` when the file has no such column, and when a column holds no text.
    """

    def __init__(self, schema: pa.Schema, fields: Sequence[str], path: str) -> None:
        self._fields = fields
        self._types: dict[str, pa.DataType] = {}  # of each column, with binary in place of all types of text
        for field in fields:
            name = field if field in schema.names else field.partition(".")[0]
            fix = f"set the corpus's text_field to one of the file's columns: {', '.join(_choices(schema))}"
            if name not in schema.names:
                raise UserError(f"the file has no column {field!r}", place=path, fix=fix)
            kind = schema.types[schema.names.index(name)]
            if schema.names.count(name) > 1:
                raise UserError(f"the file has several columns {name!r}", place=path, fix="rename all but one of them")
            if not _holds_text(kind, field[len(name) + 1 :]):
                raise UserError(f"the column {field!r} holds {kind}, not text", place=path, fix=fix)
            self._types[name] = _as_binary(kind)

    @property
    def names(self) -> list[str]:
        """The names of the columns to read."""
        return list(self._types)

    def texts(self, batch: pa.RecordBatch) -> Iterator[bytes | None]:
        """Yield the text of each row, declared to be UTF-8, or None. One at a time: each can be long."""
        columns = {name: batch.column(name).cast(kind) for name, kind in self._types.items()}
        for row in range(batch.num_rows):
            values = {name: column[row].as_py() for name, column in columns.items()}
            yield text_at(values, self._fields, b"\n")


def _choices(schema: pa.Schema) -> list[str]:
    """Return what can be a text_field: all columns and fields that hold text, or else all columns."""
    return [path for field in schema for path in _text_paths(field.name, field.type)] or list(schema.names)


def _text_paths(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_struct(kind):
        return [found for field in kind for found in _text_paths(f"{path}.{field.name}", field.type)]
    return [path] if _holds_text(kind, "") else []


def _holds_text(kind: pa.DataType, path: str) -> bool:
    """Return whether the values at a path of keys are texts, or lists of them."""
    if pa.types.is_dictionary(kind):
        return _holds_text(kind.value_type, path)
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_text(kind.storage_type, path)
    if any(is_list(kind) for is_list in _LISTS):
        return _holds_text(kind.value_type, path)
    if not path:
        return any(is_text(kind) for is_text in _TEXTS)
    if not pa.types.is_struct(kind):
        return False
    name = path if kind.get_field_index(path) >= 0 else path.partition(".")[0]
    return kind.get_field_index(name) >= 0 and _holds_text(kind.field(name).type, path[len(name) + 1 :])


def _as_binary(kind: pa.DataType) -> pa.DataType:
    """Return the type with binary in place of text, because a column that is declared to be text can hold any bytes."""
    if pa.types.is_dictionary(kind):
        return _as_binary(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _as_binary(kind.storage_type)
    if any(is_list(kind) for is_list in _LISTS):
        return pa.large_list(_as_binary(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_binary(field.type)) for field in kind])
    return pa.large_binary() if any(is_text(kind) for is_text in _TEXTS) else kind


def _refuse_other_format(path: str, kind: str) -> None:
    """Raise `UserError` if the first bytes show that the file has another format than `kind`."""
    with open_stored(path, ReadCounter()) as stream:
        start = stream.read(START_BYTES)
    if format_of(start) != kind.lower():
        refuse_foreign(start, path, is_utf8=False)


@contextmanager
def explained(path: str, kind: str) -> Iterator[None]:
    """Convert the errors of Arrow for a file that is not of this kind into `UserError`."""
    if is_compressed(path):
        cause = f"{kind} is not read through another compression"
        raise UserError(cause, place=path, fix="decompress the file, and name the result in data.corpora paths")
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        _refuse_other_format(path, kind)
        cause = f"the file is damaged, truncated, or not {kind} ({error})"
        raise UserError(cause, place=path, fix="fetch it again, or correct the corpus's format") from error
