from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, resolved_toml
from configs.schema import Recipe
from configs.tasks import TaskRecipe, TasksRecipe, load_any, load_task, load_tasks

ONE = """
[task]
kind = "classify"
data = "one.csv"
[finetune]
seeds = 5
"""

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


def write(folder: Path, text: str, name: str = "tasks.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def refusal(source: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_task(source, overrides)
    return str(caught.value)


class TestOneTask:
    def test_a_recipe_with_overrides(self, tmp_path: Path) -> None:
        recipe = load_task(write(tmp_path, ONE), ["task.kind=pair", "task.text=2024", "finetune.epochs=3"])
        assert (recipe.task.kind, recipe.task.text) == ("pair", "2024")
        assert (recipe.finetune.epochs, recipe.finetune.seeds) == (3, 5)

    def test_a_file_is_relative_to_the_toml_that_names_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "low", ONE, "low.toml")
        top = write(tmp_path / "top", 'base = "../low/low.toml"\n[task]\ntest = "test.csv"\nvalidation = "/v.csv"\n')
        task = load_task(top).task
        assert task.data == str(tmp_path / "top/../low/one.csv")
        assert (task.test, task.validation) == (str(tmp_path / "top/test.csv"), "/v.csv")
        assert load_task(Path("top/tasks.toml"), ["task.data=here.csv"]).task.data == "here.csv"

    @pytest.mark.parametrize(("name", "kind"), [("squad.json", "qa"), ("people.conll", "tag")])
    def test_the_suffix_of_a_data_file_sets_the_kind(self, name: str, kind: str, tmp_path: Path) -> None:
        task = load_task(tmp_path / name).task
        assert (task.kind, task.data, task.name) == (kind, str(tmp_path / name), Path(name).stem)
        assert load_task(tmp_path / name, ["task.kind=choice"]).task.kind == "choice"

    def test_a_data_file_with_an_ambiguous_suffix_needs_a_kind(self, tmp_path: Path) -> None:
        source = tmp_path / "reviews.csv"
        assert load_task(source, ["task.kind=pair", "finetune.seeds=2"]).finetune.seeds == 2
        assert refusal(source).startswith(
            f"{source}: `task.kind` is missing. Set task.kind=VALUE. classify: one class, "
        )

    def test_it_is_documented_and_reads_back_equal(self, tmp_path: Path) -> None:
        recipe = load_task(write(tmp_path, ONE))
        text = resolved_toml(recipe, mark_changes=True)
        assert TaskRecipe.model_validate(tomllib.loads(text)) == recipe
        assert "# Number of trials, with the seeds 0, 1, 2 … (≥ 1, ≤ 1000)\nseeds = 5  # changed; default: 1\n" in text


class TestRefusals:
    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("finetune.epoch=3", "unknown key `finetune.epoch`. Did you mean `finetune.epochs`?"),
            ("epochs=3", "unknown key `epochs`. Did you mean `finetune.epochs`?"),
            ("task.epochs=3", "unknown key `task.epochs`. Did you mean `finetune.epochs`?"),
            ("task.kind=tags", "`task.kind` = 'tags': Input should be 'classify', 'pair', 'qa', 'tag' or 'choice'."),
            ("finetune.learning_rate=0.0", "`finetune.learning_rate` = 0.0: Input should be greater than 0."),
            ("finetune.stride", "not an override"),
        ],
    )
    def test_an_override_is_named(self, override: str, words: str, tmp_path: Path) -> None:
        assert refusal(write(tmp_path, ONE), override).startswith(f"'{override}': {words}")

    def test_the_file_that_sets_the_value_is_named(self, tmp_path: Path) -> None:
        low = write(tmp_path, ONE.replace("seeds = 5", "seeds = 0"), "low.toml")
        top = write(tmp_path, 'base = "low.toml"\n[finetune]\nepochs = 2\n', "top.toml")
        assert refusal(top).startswith(f"{low}: `finetune.seeds` = 0: ")
        assert refusal(write(tmp_path, 'base = "low.toml"\nfinetune.seeds = -1', "top.toml")).startswith(f"{top}: ")
        assert load_task(top, ["finetune.seeds=1"]).finetune.seeds == 1

    def test_a_rule_between_keys(self, tmp_path: Path) -> None:
        words = "'task.regression=true': regression needs a task of kind classify or pair; remove it."
        assert refusal(tmp_path / "a.conll", "task.regression=true") == words

    @pytest.mark.parametrize(
        ("file", "overrides", "words"),
        [
            ("a.conll", ["task.positive=B-x"], "positive needs a task of kind classify or pair; remove it"),
            ("a.conll", ['task.columns=["a"]'], "columns needs a task of kind classify or pair or choice; remove it"),
            ("a.json", ["task.text=question"], "text needs a task of kind classify or pair or tag; remove it"),
            ("a.json", ["task.bad_records=drop"], "bad_records needs a task of kind classify or pair"),
            ("a.csv", ["task.kind=classify", "task.text_b=b"], "text_b needs a task of kind pair; remove it"),
            (
                "a.csv",
                ["task.kind=classify", "task.regression=true", "task.positive=1"],
                "positive names a class, but the labels of a regression are numbers; remove it",
            ),
        ],
    )
    def test_a_key_that_the_task_would_ignore(
        self, file: str, overrides: list[str], words: str, tmp_path: Path
    ) -> None:
        assert words in refusal(tmp_path / file, *overrides)
        load_task(tmp_path / file, [setting for setting in overrides if setting.startswith("task.kind")])


class TestSeveralTasks:
    def test_a_task_without_a_budget_has_the_common_one(self, tmp_path: Path) -> None:
        one, two = load_tasks(write(tmp_path, TASKS))
        assert (one.finetune.seeds, one.finetune.epochs) == (5, 3)
        assert (two.finetune.seeds, two.finetune.epochs, two.finetune.max_length) == (5, 2, 0)
        assert (one.data, one.test, two.test) == (str(tmp_path / "one.csv"), "/elsewhere/one.csv", None)

    def test_overrides_of_the_common_budget_and_of_one_task(self, tmp_path: Path) -> None:
        overrides = ["finetune.epochs=9", "finetune.seeds=1", "tasks.1.finetune.seeds=7", "tasks.1.records=10"]
        one, two = load_tasks(write(tmp_path, TASKS), overrides)
        assert (one.finetune.epochs, one.finetune.seeds) == (3, 1)
        assert (two.finetune.epochs, two.finetune.seeds, two.records) == (9, 7, 10)

    def test_a_base_can_hold_the_budget(self, tmp_path: Path) -> None:
        write(tmp_path, "[finetune]\nseeds = 7\n", "budget.toml")
        path = write(tmp_path, 'base = "budget.toml"\n' + TASKS.replace("seeds = 5\n", ""))
        assert [task.finetune.seeds for task in load_tasks(path)] == [7, 7]

    def test_a_recipe_of_one_task(self, tmp_path: Path) -> None:
        path = write(tmp_path, ONE)
        (task,) = load_tasks(path, ["finetune.epochs=3"])
        recipe = load_task(path, ["finetune.epochs=3"])
        assert (task.finetune, task.data) == (recipe.finetune, recipe.task.data)

    def test_it_is_documented_and_reads_back_equal(self, tmp_path: Path) -> None:
        recipe = load_any(write(tmp_path, TASKS))
        assert TasksRecipe.model_validate(tomllib.loads(resolved_toml(recipe))) == recipe

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("epochs = 2", "epoch = 2", r"unknown key `finetune\.epoch`\. Did you mean `finetune\.epochs`\?"),
            (
                "finetune.epochs",
                "finetune.epoch",
                r"`tasks\.0\.finetune\.epoch`\. Did you mean `tasks\.0\.finetune\.epo",
            ),
            ("finetune.epochs", "epochs", r"`tasks\.0\.epochs`\. Did you mean `tasks\.0\.finetune\.epochs`\?"),
            ("finetune.epochs = 3", "finetune = 3", r"`tasks\.0\.finetune` is a section, not a value"),
            ('kind = "tag"', 'kind = "tags"', r"`tasks\.1\.kind` = 'tags': Input should be"),
            ('name = "two"', 'name = "one"', "two tasks have the name 'one'"),
            ("[[tasks]]", "[[task]]", r"`task` is a section, not a value"),
            ("[finetune]", "[finetune", "not valid TOML"),
            ("seeds = 5", "seeds = 0", r"`finetune\.seeds` = 0: .* greater than or equal to 1"),
        ],
    )
    def test_errors_name_the_cause(self, tmp_path: Path, old: str, new: str, words: str) -> None:
        with pytest.raises(UserError, match=words) as raised:
            load_tasks(write(tmp_path, TASKS.replace(old, new)))
        assert raised.value.place == str(tmp_path / "tasks.toml")

    def test_a_missing_task_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"`tasks` is missing\. Add the section tasks\. The tasks, in"):
            load_tasks(write(tmp_path, "[data]\nworkers = 2\n"))

    def test_an_override_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"^'finetune\.epochs=0': `finetune\.epochs` = 0: "):
            load_tasks(write(tmp_path, TASKS), ["finetune.epochs=0"])

    def test_a_missing_file_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="cannot read"):
            load_tasks(tmp_path / "none.toml")


def test_each_kind_of_recipe_is_recognised(tmp_path: Path) -> None:
    assert load_any("demo", ["name=mine"]) == load_recipe("demo", ["name=mine"])
    assert isinstance(load_any("demo"), Recipe)
    assert isinstance(load_any(write(tmp_path, ONE)), TaskRecipe)
    assert isinstance(load_any(write(tmp_path, TASKS)), TasksRecipe)
