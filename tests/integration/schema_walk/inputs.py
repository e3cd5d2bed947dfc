"""The input files of the walk, and the settings from which its rows start."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from configs.schema import Recipe
from tests.preprocessing.corpora import make_documents, wikipedia_xml, write_text

BASE: dict[str, Any] = {
    "name": "walk",
    "runs": "runs",
    "data.corpora": [{"paths": ["{in}/text.txt"], "format": "text"}],
    "data.workers": 1,
    "data.max_seq_length": 48,
    "data.dupe_factor": 2,
    "data.held_out_fraction": 0.1,
    "data.group_bytes": 20_000,
    "data.vocabulary.size": 150,
    "model.hidden_size": 16,
    "model.num_hidden_layers": 1,
    "model.num_attention_heads": 2,
    "model.intermediate_size": 32,
    "model.max_position_embeddings": 48,
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup_steps": 2,
    "train.steps": 6,
    "train.global_batch_size": 8,
    "train.micro_batch_size": 4,
    "train.precision": "fp32",
    "train.evaluate_rows": 8,
    "train.log_every_steps": 2,
    "checkpoint.every_steps": 2,
    "checkpoint.keep": 2,
    "cluster.device": "cpu",
    "cluster.cpu_threads": 1,
}

GERMAN = "Das kostet z. B. drei Euro. Herr Dr. Maier zahlt am 3. Mai bar. Er geht dann nach Hause und schläft."
CHINESE = "我们在北京大学研究自然语言处理技术。他喜欢阅读历史书籍。今天天气非常好。"
RIGHTS = "All rights reserved by the publisher."


def write_inputs(folder: Path) -> None:
    """Write the corpora that `BASE` and the rows name as `{in}/...`."""
    documents = make_documents(110)
    accents = [f"Über Café {number} est arrivé. {documents[number]}" for number in range(10)]
    near = documents[3].replace("begins", "starts")
    reserved = [f"{document}\n{RIGHTS}" for document in documents[10:16]]
    text = [*documents[:10], *reserved, *documents[16:], *accents, documents[2], near]
    write_text(folder / "text.txt", text)
    (folder / "packed.txt.gz").write_bytes(gzip.compress("\n\n".join(make_documents(900)).encode(), mtime=0))
    write_text(folder / "other.txt", make_documents(60, seed=2))
    write_text(folder / "evaluation.txt", [documents[40]])
    write_text(folder / "german.txt", [f"{GERMAN} {document}" for document in documents[:40]])
    write_text(folder / "chinese.txt", [CHINESE * 3 + str(number) for number in range(40)])
    (folder / "latin.txt").write_bytes("\n\n".join(accents * 4).encode("latin-1"))
    broken = "\n\n".join(documents[:40]).encode() + b"\n\nA word is br\xffken here. " + documents[50].encode()
    (folder / "broken.txt").write_bytes(broken)
    records = [{"text": a, "body": b} for a, b in zip(documents[:50], documents[50:100], strict=True)]
    (folder / "fields.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lacking = [{"text": text} for text in documents[:40]] + [{"other": text} for text in documents[40:100]]
    (folder / "lacking.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lacking))
    pages = [(f"Page {number}", f"{{{{zeta|kilo}}}} {text}") for number, text in enumerate(documents[:40])]
    (folder / "wiki.xml").write_text(wikipedia_xml(pages))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(97 + n) for n in range(26)), *"0123456789.,äöüé"]
    (folder / "vocab.txt").write_text("\n".join([*pieces, *(f"##{piece}" for piece in pieces[5:])]) + "\n")


def recipe_of(folder: Path, settings: dict[str, Any]) -> Recipe:
    """Return the recipe with these settings; each `[data]` has a data set of its own below `folder`."""
    table: dict[str, Any] = {}
    for key, value in settings.items():
        _put(table, key.split("."), _located(value, folder))
    name = hashlib.sha256(json.dumps(table["data"], sort_keys=True).encode()).hexdigest()[:16]
    table["data"].setdefault("dataset", str(folder / "datasets" / name))
    return Recipe.model_validate(table)


def _put(table: Any, parts: list[str], value: Any) -> None:
    first: Any = int(parts[0]) if parts[0].isdigit() else parts[0]
    if len(parts) == 1:
        table[first] = value
    else:
        _put(table[first] if isinstance(table, list) else table.setdefault(first, {}), parts[1:], value)


def _located(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return value.replace("{in}", str(folder / "in")).replace("{folder}", str(folder))
    if isinstance(value, list):
        return [_located(item, folder) for item in value]
    if isinstance(value, dict):
        return {name: _located(item, folder) for name, item in value.items()}
    return value
