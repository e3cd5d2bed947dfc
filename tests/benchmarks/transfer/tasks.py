"""Four public data sets, as they are published, as tasks for `bertrain evaluate`.

    python -m tests.benchmarks.transfer.tasks --data DIR --output build/tasks

rotten_tomatoes/sentence_polarity.zip   a class a file inside, a sentence a line → rotten_tomatoes.jsonl
sms_spam/SMSSpamCollection              label, tab, message, with a header       → sms_spam.tsv
wnut17/*.conll, emerging.test.annotated CoNLL columns, three files               → as they are
xquad/xquad.en.json                     SQuAD's JSON                             → as it is
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
    parser.add_argument("--data", type=Path, required=True, help="folder of the four data sets, each in its own")
    parser.add_argument("--output", type=Path, default=Path("build/tasks"), help="folder of tasks.toml and its files")
    arguments = parser.parse_args()
    write_tasks(arguments.data, arguments.output)


def write_tasks(data: Path, output: Path) -> None:
    """All that the tasks files of this folder name, beside copies of them."""
    output.mkdir(parents=True, exist_ok=True)
    for file in (*HERE.glob("*_tasks.toml"), *(data / name for name in UNCHANGED)):
        shutil.copyfile(file, output / file.name)
    shutil.copyfile(data / "sms_spam/SMSSpamCollection", output / "sms_spam.tsv")
    with zipfile.ZipFile(data / "rotten_tomatoes/sentence_polarity.zip") as archive:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in polarities(archive)]
    (output / "rotten_tomatoes.jsonl").write_text("".join(lines), encoding="utf-8")


def polarities(archive: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    """The sentences of the archive's two files, each with the class that its file is of."""
    for label in ("neg", "pos"):
        text = archive.read(f"sentence_polarity/rt-polarity.{label}").decode()
        yield from ({"text": line.strip(), "label": label} for line in text.splitlines())


if __name__ == "__main__":
    main()
