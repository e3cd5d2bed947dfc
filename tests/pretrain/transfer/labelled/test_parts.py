"""Where the parts of a task are, how a file is divided, and what two parts share."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.overlaps import contradictions, shared_texts
from pretrain.transfer.labelled.splits import read_splits


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbered(count: int, label: Any = "x", word: str = "text") -> list[dict[str, Any]]:
    return [{"text": f"{word} {number}", "label": label} for number in range(count)]


def classify(data: Path, **fields: Any) -> TaskConfig:
    return TaskConfig.model_validate({"kind": "classify", "data": str(data)} | fields)


def texts_of(config: TaskConfig) -> dict[str, set[str]]:
    return {name: {record["text"] for record in part.records} for name, part in read_splits(config).parts().items()}


def test_each_label_has_its_share_in_each_part(tmp_path: Path) -> None:
    rows = numbered(200, "common") + numbered(20, "rare", "word") + numbered(3, "three", "a") + numbered(2, "two", "b")
    splits = read_splits(classify(write(tmp_path / "a.jsonl", *rows)))
    counts = {part: Counter(r["label"] for r in of.records) for part, of in splits.parts().items()}
    assert counts["test"] == counts["validation"] == {"common": 20, "rare": 2, "three": 1}
    assert counts["training"] == {"common": 160, "rare": 16, "three": 1, "two": 2}


def test_a_text_with_two_labels_is_in_one_part_and_counted(tmp_path: Path) -> None:
    rows = numbered(60, "a") + numbered(60, "b")
    splits = read_splits(classify(write(tmp_path / "a.jsonl", *rows)))
    assert shared_texts(splits) == {}
    assert sum(contradictions(part) for part in splits.parts().values()) == 60


def test_texts_of_two_files_are_compared_without_white_space(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", *numbered(20))
    test = write(tmp_path / "b.jsonl", {"text": "text  3 ", "label": "x"}, {"text": "other", "label": "x"})
    splits = read_splits(classify(data, validation=str(data), test=str(test)))
    assert shared_texts(splits) == {
        "validation texts also in training": 20,
        "test texts also in training": 1,
        "test texts also in validation": 1,
    }


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Train", "dev", "test"), ("train", "val", "test")])
def test_files_of_a_folder_by_their_usual_names(names: tuple[str, str, str], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number, name in enumerate(names):
        write(folder / f"{name}.jsonl", *numbered(3, word=str(number)))
    (folder / "README.md").touch()
    parts = texts_of(classify(folder))
    assert [sorted(parts[name])[0] for name in ("training", "validation", "test")] == ["0 0", "1 0", "2 0"]
    (folder / "train.csv").touch()
    with pytest.raises(UserError, match=r"several files for training"):
        read_splits(classify(folder))


def test_a_folder_without_training_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "part-0.jsonl", *numbered(3))
    with pytest.raises(UserError, match=r"a folder, not a file; it holds part-0\.jsonl"):
        read_splits(classify(tmp_path))


def test_parts_of_a_saved_dictionary(tmp_path: Path) -> None:
    made = {name: datasets.Dataset.from_list(numbered(4, word=name)) for name in ("train", "validation", "test")}
    datasets.DatasetDict(made).save_to_disk(tmp_path / "dd")
    parts = texts_of(classify(tmp_path / "dd"))
    assert "train 0" in parts["training"]
    assert "test 0" in parts["test"]
    single = datasets.Dataset.from_list(numbered(40))
    single.select(range(10, 30)).save_to_disk(tmp_path / "one")
    assert sum(map(len, texts_of(classify(tmp_path / "one")).values())) == 20


@pytest.mark.parametrize("label", [-1, "-1"])
def test_hidden_labels_are_named(label: Any, tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", *numbered(30, 0), *numbered(30, 1, "word"))
    test = write(tmp_path / "b.jsonl", *numbered(3, label))
    with pytest.raises(UserError, match=r"b\.jsonl: all labels are -1.*`bertrain predict MODEL FILE`"):
        read_splits(classify(data, test=str(test)))
    with_class = write(tmp_path / "c.jsonl", *numbered(30, -1), *numbered(30, 1, "word"))
    assert len(read_splits(classify(with_class, test=str(test))).test) == 3


def test_labels_of_all_files_are_of_one_kind(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jsonl", *numbered(30, ["x"]))
    test = write(tmp_path / "b.jsonl", *numbered(3))
    with pytest.raises(UserError, match="records have one label each, but those of training have lists of labels"):
        read_splits(classify(data, test=str(test)))
