"""Fixes of commands that use a model: fine-tuning, predictions, embeddings, import, export, tasks of an evaluation."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.integration.fixes.case import Case, Damage, with_rows, write
from tests.integration.fixes.run_cases import RUN
from tests.integration.small import bertrain

FINETUNE = f"finetune {RUN} task.toml -o tuned"
TOO_LONG = f"{FINETUNE} finetune.max_length=512"
EMBED = f"embed {RUN} texts.csv -o x.npz"


def with_several(folder: Path) -> None:
    with_rows(*ROWS, kind="classify")(folder)
    shutil.move(folder / "task.toml", folder / "tasks.toml")


def with_list(folder: Path) -> None:
    """Write a recipe with a list of tasks."""
    with_several(folder)
    text = (folder / "tasks.toml").read_text()
    (folder / "tasks.toml").write_text(text.replace("[task]", '[[tasks]]\nname = "one"'))


def converted(encoding: str) -> Damage:
    """Return what the message says: convert texts.csv from this encoding."""
    command = f"iconv -f {encoding} -t UTF-8 texts.csv > new && mv new texts.csv"
    return lambda folder: subprocess.run(["bash", "-c", command], cwd=folder, check=True)


def other_results(folder: Path) -> None:
    with_rows(*ROWS, kind="classify")(folder)
    ended = bertrain(folder, *FINETUNE.split(), "finetune.batch_size=16")
    assert ended.returncode == 0, ended.stderr


ROWS: list[dict[str, object]] = [
    {"text": f"{'ba be' if number % 2 else 'bi'} {number}", "label": "ab"[number % 2]} for number in range(60)
]
OTHER_NAMES = [{"words": row["text"], "label": row["label"]} for row in ROWS]
PAIRS: list[dict[str, object]] = [
    {"premise": row["text"], "hypothesis": "be", "question": row["text"], "sentence": "bo", "label": row["label"]}
    for row in ROWS
]
NUMBERS: list[dict[str, object]] = [{"text": f"ba be {number}", "label": number + 0.5} for number in range(60)]
CLASSES = [{"text": row["text"], "class": row["label"], "category": "c"} for row in ROWS]
SEVERAL: list[dict[str, object]] = [{"text": row["text"], "label": [row["label"]]} for row in ROWS]
SAME = [row | {"label": "a", "other": row["label"]} for row in ROWS]
LINES = [f"{row['text']},{row['label']}\n" for row in ROWS]
TEXTS = write("texts.csv", "title,body\nba,be\nbi,bo\n")
CASES = [
    Case(f"evaluate {RUN} --tasks tasks.toml", "the report of the tasks needs a folder", "--output", with_several,
         "{} report"),
    Case(f"evaluate {RUN} finetune.seeds=1 -o report", "a setting of tasks", "--tasks", with_several, "{} tasks.toml"),
    Case(f"export {RUN} -o hf", "already exists", "another name", as_argument="-o other"),
    Case(FINETUNE, "is missing", r"task\.kind=(?=VALUE)", with_rows(*ROWS), "{}classify"),
    Case(FINETUNE, "", "task.bad_records=drop", with_rows(*ROWS, {"text": "ba"}, kind="classify"),
         site="pretrain/transfer/labelled/records.py:BadRecords.take"),
    Case(FINETUNE, "no column", r"task\.text\b", with_rows(*OTHER_NAMES, kind="classify", text="text"), "{}=words"),
    Case(FINETUNE, "pairs of text columns", r"task\.text_b", with_rows(*PAIRS, kind="pair"),
         "task.text=premise {}=hypothesis"),
    Case(FINETUNE, "several columns can be the", r"task\.label", with_rows(*CLASSES, kind="classify"),
         "{}=class"),
    Case(FINETUNE, "", r"task\.regression=true", with_rows(*NUMBERS, kind="classify"),
         site="pretrain/transfer/labelled/splits.py:read_splits"),
    Case(FINETUNE, "there is nothing to learn", r"task\.label", with_rows(*SAME, kind="classify"), "{}=other",
         site="pretrain/transfer/making.py:_check_several"),
    Case(f"{FINETUNE} finetune.class_weights=balanced", "do not have one class each", '"(none)"',
         with_rows(*SEVERAL, kind="classify"), "finetune.class_weights={}"),
    Case(TOO_LONG, "but the model has 48 positions", r"(?<=et it to )\d+", with_rows(*ROWS, kind="classify"),
         "finetune.max_length={}"),
    Case(f"{FINETUNE} finetune.freeze_layers=9", "layers to freeze, but", "ower it", with_rows(*ROWS, kind="classify"),
         "finetune.freeze_layers=1"),
    Case(f"{FINETUNE} finetune.device=cuda", "torch finds no GPU", "device to (auto)", with_rows(*ROWS,
         kind="classify"),
         "finetune.device={}"),
    Case(f"{FINETUNE} 'task.columns=[\"text\", \"label\"]'", "but this file has names of its own", "emove task.columns",
         with_rows(*ROWS, kind="classify"), "", r"task\.columns=.*"),
    Case(f"finetune {RUN} task.toml -o hf", "the path exists already", "--output", with_rows(*ROWS, kind="classify"),
         "{} tuned"),
    Case(f"finetune {RUN} tasks.toml -o tuned --kind classify", "are for one task", r"tasks\.0\.kind", with_list,
         "{}=classify", "--kind|classify"),
    Case(EMBED, "no column for the text", "--text", TEXTS, "{} body"),
    Case(f"embed {RUN} two.csv -o x.npz", "", "--text", write("two.csv", "text,body\n,ba be\n,bi bo\n"), "{} body",
         site="pretrain/transfer/feature_files.py:_texts_of"),
    Case(f"{EMBED} --text body --pool pooler --layers 1", "there is no pooler for layers", "--pool mean", TEXTS),
    Case(f"predict {RUN} task.jsonl", "not a fine-tuned model", "that `bertrain finetune` wrote", other_results,
         "tuned", RUN),
    Case(f"senses {RUN} --word nothing", "no sentences for", r"--word \w+"),
    Case(f"{EMBED} --text body --max-length 99", "tokens, but the model has 48 positions", "ower it", TEXTS,
         "--max-length 48",
         site="pretrain/transfer/features.py:Features.__init__"),
    Case(f"finetune {RUN} texts.csv --kind classify -o tuned 'task.columns=[\"text\", \"label\", \"x\"]'",
         "but task.columns names", "orrect task.columns", write("texts.csv", "".join(LINES)),
         "'task.columns=[\"text\", \"label\"]'"),
    Case(f"finetune {RUN} texts.csv --kind classify -o tuned", "not UTF-8 text: byte 0x",
         "iconv -f CP1252 -t UTF-8 FILE > NEW",
         write("texts.csv", ("text,label\nCaf\xe9,a\n" + "".join(LINES)).encode("cp1252")), edit=converted("CP1252")),
    Case(f"finetune {RUN} texts.csv --kind classify -o tuned", "an escape sequence of ISO 2022",
         "iconv -f ISO-2022-JP-2 -t UTF-8",
         write("texts.csv", ("text,label\n\u65e5\u672c,a\n" + "".join(LINES)).encode("iso2022_jp_2")),
         edit=converted("ISO-2022-JP-2")),
    Case(FINETUNE, "the folder holds results of another", "--output", other_results, "{} again"),
    Case(f"push {RUN} name", "not an exported model with its card", "that `bertrain export RUN --output DIR` wrote",
         as_argument="hf", instead_of=RUN),
]  # fmt: skip
