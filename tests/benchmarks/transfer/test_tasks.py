"""Small data sets in the published forms are converted to tasks that the readers accept."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from configs.recipe import load_recipe
from configs.tasks import load_tasks
from pretrain.transfer.labelled import Splits, read_splits
from tests.benchmarks.transfer.tasks import HERE, write_tasks

SENTENCES = 60


def publish(data: Path) -> None:
    for name in ("rotten_tomatoes", "sms_spam", "wnut17", "xquad"):
        (data / name).mkdir(parents=True)
    with zipfile.ZipFile(data / "rotten_tomatoes/sentence_polarity.zip", "w") as archive:
        for label in ("neg", "pos"):
            sentences = "".join(f'a {label} caf\u00e9 " {number} \n' for number in range(SENTENCES))
            archive.writestr(f"sentence_polarity/rt-polarity.{label}", sentences)
    messages = "".join(f'{"spam" if n % 4 else "ham"}\tsay "{n}\n' for n in range(SENTENCES))
    (data / "sms_spam/SMSSpamCollection").write_text(f"Label\tSMS\n{messages}")
    for name in ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"):
        (data / "wnut17" / name).write_text("Empire\tB-location\nis\tO\n\t\nParis\tB-location\n")
    answer = {"text": "b", "answer_start": 2}
    paragraphs = [
        {"context": f"a b {n}", "qas": [{"id": str(n), "question": "?", "answers": [answer]}]} for n in range(SENTENCES)
    ]
    (data / "xquad/xquad.en.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


def test_converted_tasks_contain_the_published_records(tmp_path: Path) -> None:
    publish(tmp_path / "data")
    for _ in range(2):  # the second run replaces the files of the first
        write_tasks(tmp_path / "data", tmp_path / "tasks")
    tasks = {task.name: task for task in load_tasks(tmp_path / "tasks/four_tasks.toml")}
    splits: dict[str, Splits] = {name: read_splits(task) for name, task in tasks.items()}
    films = [record for part in splits["rotten_tomatoes"].parts().values() for record in part.records]
    assert len(films) == 2 * SENTENCES
    assert {"text": 'a pos caf\u00e9 " 7', "label": "pos"} in films
    messages = [record for part in splits["sms_spam"].parts().values() for record in part.records]
    assert {"text": 'say "8', "label": "ham"} in messages
    assert [record["tokens"] for record in splits["wnut17"].training.records] == [["Empire", "is"], ["Paris"]]
    assert splits["xquad"].test.records[0]["answers"] == [{"text": "b", "start": 2}]
    loop = {task.name: read_splits(task) for task in load_tasks(tmp_path / "tasks/loop_tasks.toml")}
    assert len(loop) == 6
    assert {record["label"] for record in loop["questions"].training.records} <= {"yes", "no"}
    assert all(0 <= record["label"] <= 3 for record in loop["positives"].training.records)
    assert {task.finetune.seeds for task in tasks.values()} == {5}
    assert [task.name for task in load_tasks(tmp_path / "tasks/minilm_tasks.toml")] == ["rotten_tomatoes", "wnut17"]


def test_recipe_is_valid() -> None:
    assert load_recipe(HERE / "small_enwiki.toml").name == "small-enwiki"
