"""The page of file formats: the data set, the run, the checkpoint."""

from __future__ import annotations

import inspect
import io

import numpy as np
import pyarrow as pa

from configs import run_layout
from launch.docs.generate.fields import documented_fields, fields_table
from launch.docs.generate.table import code, note, prose, table
from preprocessing.dataset import (
    InputEntry,
    Manifest,
    Provenance,
    Rows,
    ShardEntry,
    Statistics,
    VocabularyEntry,
    manifest,
    write_shard,
)
from pretrain.checkpoint import TrainingState

_ENTRIES = (Manifest, ShardEntry, InputEntry, VocabularyEntry, Statistics)


def formats_page() -> str:
    """Return the files of a data set and of a run, and the fields of each."""
    entries = "\n".join(
        f"### {kind.__name__}\n\n{prose(kind.__doc__ or '')}\n\n{fields_table(kind)}" for kind in _ENTRIES
    )
    return (
        note("File formats", "preprocessing/dataset, configs/run_layout.py and pretrain/checkpoint/state.py")
        + f"## Data set\n\n{_described(manifest)}\n\n"
        + f"## Columns of a shard\n\n{_columns()}\n"
        + f"With `data.provenance`, further columns:\n\n{inspect.cleandoc(Provenance.__doc__ or '')}\n\n"
        + f"## Fields of manifest.json\n\n{entries}\n"
        + f"## Run\n\n{_described(run_layout)}\n\n"
        + "`metrics.jsonl` has one JSON object per step, and one more after each evaluation; see "
        "[Metrics](metrics.md). `check` is the CRC-32 of the rest of the line.\n\n"
        + f"## Fields of a checkpoint's state.json\n\n{fields_table(TrainingState)}\n"
        + "Beside it are one safetensors file per rank, with fp32 weights and Adam's moments by parameter name. "
        "Any ZeRO stage and world size reads them.\n"
    )


def _described(module: object) -> str:
    """Return a module's docstring; its indented or aligned lines are a listing."""
    title, _, body = inspect.cleandoc(getattr(module, "__doc__", None) or "").partition("\n\n")
    listing, _, rest = body.partition("\n\n")
    return f"{prose(title)}\n\n```text\n{inspect.cleandoc(listing)}\n```\n\n{prose(rest)}"


def _columns() -> str:
    """Return the columns of a shard that is really written, with the meanings beside the fields of `Rows`."""
    none, offsets = np.zeros(0, np.uint16), np.zeros(1, np.int32)
    rows = Rows(none, offsets, none, none, none, offsets, np.zeros(0, np.uint8))
    stream = io.BytesIO()
    write_shard(stream, rows, "")
    meanings = {field.name: field.meaning for field in documented_fields(Rows)}
    schema = pa.ipc.open_file(io.BytesIO(stream.getvalue())).schema
    columns = [(code(column.name), _kind(column), prose(meanings[column.name])) for column in schema]
    return table(("column", "type", "meaning"), columns) + (
        "\nIds are uint32 where the vocabulary has more than 65,536 entries.\n"
    )


def _kind(column: pa.Field) -> str:
    return f"list of {column.type.value_type}" if pa.types.is_list(column.type) else str(column.type)
