from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.tasks import load_tasks

TASKS = """
[finetune]
seeds = 5
epochs = 2
[[tasks]]
name = "one"
kind = "classify"
data = "one.csv"
test = "/elsewhere/one.csv"
finetune.epochs = 3
[[tasks]]
name = "two"
kind = "tag"
data = "two.conll"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "tasks.toml").write_text(text)
    return folder / "tasks.toml"


def test_a_task_has_the_common_budget_where_it_has_none_of_its_own(tmp_path: Path) -> None:
    one, two = load_tasks(write(tmp_path, TASKS))
    assert (one.finetune.seeds, one.finetune.epochs) == (5, 3)
    assert (two.finetune.seeds, two.finetune.epochs, two.finetune.max_length) == (5, 2, 128)
    assert (one.data, one.test, two.test) == (str(tmp_path / "one.csv"), "/elsewhere/one.csv", None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs = 2", "epoch = 2", r"tasks\.0\.finetune\.epoch: Extra inputs"),
        ('kind = "tag"', 'kind = "tags"', r"tasks\.1\.kind: Input should be"),
        ('name = "two"', 'name = "one"', "two tasks have the name 'one'"),
        ("[[tasks]]", "[[task]]", "tasks: Field required"),
        ("[finetune]", "[finetune", "not valid TOML"),
        ("seeds = 5", "seeds = 0", r"seeds: .* greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        load_tasks(write(tmp_path, TASKS.replace(old, new)))
    assert raised.value.place == str(tmp_path / "tasks.toml")


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_tasks(tmp_path / "none.toml")
