"""Convert four public data sets, in their published form, to tasks for `bertrain evaluate`.

    python -m tests.benchmarks.transfer.tasks --data DIR --output build/tasks

rotten_tomatoes/sentence_polarity.zip   one file per class, one sentence per line → rotten_tomatoes.jsonl
sms_spam/SMSSpamCollection              label, tab, message, with a header        → sms_spam.tsv
wnut17/*.conll, emerging.test.annotated CoNLL columns, three files                → unchanged
xquad/xquad.en.json                     SQuAD's JSON                              → unchanged
"""

from __future__ import annotations

import argparse
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
UNCHANGED = (
    "wnut17/wnut17train.conll",
    "wnut17/emerging.dev.conll",
    "wnut17/emerging.test.annotated",
    "xquad/xquad.en.json",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one subfolder per data set")
    parser.add_argument(
        "--output", type=Path, default=Path("build/tasks"), help="folder for the task files and their data"
    )
    arguments = parser.parse_args()
    write_tasks(arguments.data, arguments.output)


def write_tasks(data: Path, output: Path) -> None:
    """Write all data files that the task files in this folder name, and copies of the task files."""
    output.mkdir(parents=True, exist_ok=True)
    for file in (*HERE.glob("*_tasks.toml"), *(data / name for name in UNCHANGED)):
        shutil.copyfile(file, output / file.name)
    shutil.copyfile(data / "sms_spam/SMSSpamCollection", output / "sms_spam.tsv")
    with zipfile.ZipFile(data / "rotten_tomatoes/sentence_polarity.zip") as archive:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in polarities(archive)]
    (output / "rotten_tomatoes.jsonl").write_text("".join(lines), encoding="utf-8")


def polarities(archive: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    """Yield the sentences of the archive's two files, each with the class of its file."""
    for label in ("neg", "pos"):
        text = archive.read(f"sentence_polarity/rt-polarity.{label}").decode()
        yield from ({"text": line.strip(), "label": label} for line in text.splitlines())


if __name__ == "__main__":
    main()
