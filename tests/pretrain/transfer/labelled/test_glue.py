"""The shipped recipe for GLUE reads its nine folders in their published forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.tasks import load_several
from configs.transfer import FinetuneConfig
from pretrain.transfer.labelled.splits import read_splits
from pretrain.transfer.making import make_task
from tests.pretrain.runs import VOCAB

ROWS = 30
# Each folder: its development file, its header, and a line of class `{y}` with number `{n}`.
PUBLISHED = {
    "CoLA": ("dev", "", "gj04\t{b}\t\tThe cat {n} is."),
    "SST-2": ("dev", "sentence\tlabel", "good film {n} \t{b}"),
    "MRPC": ("dev", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", '{b}\t7\t8\tHe said "no {n}\tHe said {n}'),
    "STS-B": (
        "dev",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "{n}\tmain\tMSRvid\t2012\t1\tnone\tnone\tA cat {n}.\tA dog {n}.\t{b}.250",
    ),
    "QQP": ("dev", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "{n}\t1\t2\tIs it {n}?\tWas it {n}?\t{b}"),
    "MNLI": (
        "dev_matched",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        '{n}\t1\t1e\tfiction\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tIt is "{n}.\tIt was {n}.\t{y}\t{y}',
    ),
    "QNLI": ("dev", "index\tquestion\tsentence\tlabel", '{n}\tWhen was "{n}?\t"In {n}, it was.\t{y}'),
    "RTE": ("dev", "index\tsentence1\tsentence2\tlabel", "{n}\tIt is {n}.\tIt was {n}.\t{y}"),
    "WNLI": ("dev", "index\tsentence1\tsentence2\tlabel", "{n}\tIt is {n}.\tIt was {n}.\t{b}"),
}
METRICS = {
    "CoLA": "mcc",
    "SST-2": "accuracy",
    "MRPC": "f1",
    "STS-B": "pearson",
    "QQP": "f1",
    "MNLI": "accuracy",
    "QNLI": "accuracy",
    "RTE": "accuracy",
    "WNLI": "accuracy",
}


def publish(folder: Path) -> None:
    """Write the nine folders of GLUE in their published form, with few pairs."""
    for name, (development, header, line) in PUBLISHED.items():
        (folder / name).mkdir()
        classes = ("entailment", "neutral", "contradiction") if name == "MNLI" else ("entailment", "not_entailment")
        files = [("train", 0), (development, 1000), *([("dev_mismatched", 2000)] if name == "MNLI" else [])]
        for file, first in files:
            rows = [line.format(n=first + n, b=n % 2, y=classes[n % len(classes)]) for n in range(ROWS)]
            rows = [*([header] if header else []), *rows, *(["1\t2\tbroken"] if name == "QQP" else [])]
            if name == "MNLI" and first:
                rows = [_with_five_labels(row) for row in rows]
            (folder / name / f"{file}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _with_five_labels(row: str) -> str:
    """Return a row of MNLI's training file as a row of its development files."""
    before, _, gold = row.rpartition("\t")
    more = [f"label{number}" if gold == "gold_label" else "neutral" for number in range(2, 6)]
    return "\t".join([before, *more, gold])


def test_nine_tasks_with_their_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    monkeypatch.chdir(tmp_path)
    tasks = load_several(Path("glue_tasks"))
    assert tasks is not None
    watched = {}
    for task in tasks:
        splits = read_splits(task)
        assert len(splits.test) == ROWS
        assert len(splits.training) + len(splits.validation) == ROWS
        dropped = [of_file["dropped"] for of_file in splits.files.values()]
        assert {sum(causes.values()) for causes in dropped} == ({1} if task.name == "QQP" else {0})
        second = splits.second_test
        assert (None if second is None else len(second)) == (ROWS if task.name == "MNLI" else None)
        assert (task.second_published is None) == (second is None)
        watched[task.name] = make_task(task, FinetuneConfig(max_length=128), VOCAB, splits).watched
        assert task.published is not None
    assert watched == METRICS
    texts = {task.name: read_splits(task).test.records[0] for task in tasks}
    assert texts["MRPC"]["text"].startswith('He said "no')
    assert texts["STS-B"]["label"] == 0.25
    assert texts["CoLA"] == {"text": "The cat 1000 is.", "label": "0"}
