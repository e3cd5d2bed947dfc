"""Convert four public data sets, in their published form, to tasks for `bertrain evaluate` and `trainer_loop`.

    python -m tests.benchmarks.transfer.tasks --data DIR --output build/tasks

rotten_tomatoes/sentence_polarity.zip   one file per class, one sentence per line → rotten_tomatoes.jsonl
sms_spam/SMSSpamCollection              label, tab, message, with a header        → sms_spam.tsv
wnut17/*.conll, emerging.test.annotated CoNLL columns, three files                → unchanged
xquad/xquad.en.json                     SQuAD's JSON                              → unchanged

Two more tasks are made of these: a pair task, whether a sentence of XQuAD holds the answer to a question
(questions.jsonl), and a regression on one text, how many of three film sentences are positive (positives.csv).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
        films = list(polarities(archive))
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in films]
    (output / "rotten_tomatoes.jsonl").write_text("".join(lines), encoding="utf-8")
    (output / "positives.csv").write_text(counted_positives(films), encoding="utf-8")
    pairs = answered_pairs(json.loads((data / "xquad/xquad.en.json").read_text(encoding="utf-8")))
    (output / "questions.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")


def polarities(archive: zipfile.ZipFile) -> Iterator[dict[str, str]]:
    """Yield the sentences of the archive's two files, each with the class of its file."""
    for label in ("neg", "pos"):
        text = archive.read(f"sentence_polarity/rt-polarity.{label}").decode()
        yield from ({"text": line.strip(), "label": label} for line in text.splitlines())


def counted_positives(films: Sequence[dict[str, str]]) -> str:
    """Return CSV of texts of three sentences, each with the number of positive ones."""
    draw, stream = random.Random(0), io.StringIO()
    shuffled = draw.sample(films, len(films))
    writer = csv.writer(stream)
    writer.writerow(["text", "score"])
    for start in range(0, len(shuffled) - 2, 3):
        three = shuffled[start : start + 3]
        writer.writerow([" ".join(film["text"] for film in three), sum(film["label"] == "pos" for film in three)])
    return stream.getvalue()


def answered_pairs(squad: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yield each question with the sentence that holds its answer, and with another one of the same context."""
    draw = random.Random(0)
    for article in squad["data"]:
        for paragraph in article["paragraphs"]:
            sentences = paragraph["context"].split(". ")
            for question in paragraph["qas"]:
                held = [sentence for sentence in sentences if question["answers"][0]["text"] in sentence]
                others = [sentence for sentence in sentences if sentence not in held]
                for label, found in (("yes", held), ("no", others)):
                    if found:
                        yield {"question": question["question"], "sentence": draw.choice(found), "label": label}


if __name__ == "__main__":
    main()
