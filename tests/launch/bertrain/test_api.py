"""The public API, on a small prepared data set."""

from __future__ import annotations

import ast
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import bertrain
from preprocessing.dataset import write_manifest, write_shard
from preprocessing.storage import store_at
from tests.integration.small import write_small
from tests.object_store import object_store, upload

DOOR = Path(bertrain.__file__).with_name("__init__.pyi")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> bertrain.Recipe:
    folder = tmp_path_factory.mktemp("api")
    write_small(folder)
    return bertrain.load_recipe(
        folder / "recipe.toml",
        {
            "data.dataset": folder / "dataset",
            "data.corpora": [{"paths": [folder / "corpus.txt"], "format": "text", "weight": 1.0}],
            "runs": str(folder / "runs"),
        },
    )


@pytest.fixture(scope="module")
def dataset(recipe: bertrain.Recipe) -> bertrain.Dataset:
    return bertrain.prepare(recipe)


class TestTheDoor:
    def test_every_name_exists_and_has_a_docstring(self) -> None:
        imports = [node for node in ast.parse(DOOR.read_text()).body if isinstance(node, ast.ImportFrom)]
        names = {alias.name for node in imports for alias in node.names}
        assert set(dir(bertrain)) == names
        for name in names - {"__version__"}:
            assert getattr(bertrain, name).__doc__, name

    def test_docstrings_state_returns_and_errors_and_have_an_example(self) -> None:
        for function in (
            bertrain.load_recipe, bertrain.prepare, bertrain.verify, bertrain.inspect,
            bertrain.load_pretrained, bertrain.export, bertrain.plan, bertrain.train,
        ):  # fmt: skip
            assert function.__doc__
            assert all(f"\n    {part}:\n" in function.__doc__ for part in ("Returns", "Raises", "Examples")), function

    def test_importing_and_loading_recipes_loads_no_heavy_package(self) -> None:
        program = """
import sys, bertrain
bertrain.load_recipe("demo"), bertrain.UserError, bertrain.__version__
print(*({"torch", "apache_beam", "numpy", "pyarrow", "deepspeed"} & set(sys.modules)))
"""
        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert loaded.split() == []

    def test_data_sets_and_plans_need_no_torch(self, dataset: bertrain.Dataset) -> None:
        program = f"""
import sys
sys.modules["torch"] = None
import bertrain
dataset = bertrain.Dataset({str(dataset.place)!r})
print(len(dataset.rows()), len(bertrain.verify(dataset)), bertrain.plan("base_phase1", "h200").parameters)
"""
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.split() == [str(len(dataset.rows())), "0", "110106428"]


class TestRecipes:
    def test_overrides_are_python_values_or_command_line_strings(self) -> None:
        changes = {
            "train.steps": 70,
            "data.dataset": 'a "set" = [1]',
            "optimizer.learning_rate": 1e-4,
            "train.activation_checkpointing": True,
        }
        made = bertrain.load_recipe("demo", changes)
        assert made.train.steps == 70
        assert made.data.dataset == 'a "set" = [1]'
        assert made.optimizer.learning_rate == 1e-4
        assert made.train.activation_checkpointing is True
        assert bertrain.load_recipe("demo", ["train.steps=70"]) == bertrain.load_recipe("demo", {"train.steps": 70})

    @pytest.mark.parametrize(
        ("changes", "cause"), [({"train.setps": 7}, "unknown key"), ({"name": None}, "None is not a value of a recipe")]
    )
    def test_errors_name_the_cause(self, changes: dict[str, object], cause: str) -> None:
        with pytest.raises(bertrain.UserError, match=cause):
            bertrain.load_recipe("demo", changes)


class TestDataset:
    def test_preparing_again_reuses_the_data_set(self, recipe: bertrain.Recipe, dataset: bertrain.Dataset) -> None:
        seen: list[object] = []
        again = bertrain.prepare(recipe, progress=seen.append)
        assert again.manifest == dataset.manifest
        assert again.place == dataset.place == recipe.data.dataset

    def test_rows_are_views_on_the_shards(self, dataset: bertrain.Dataset) -> None:
        for split, pass_number in (("train", 0), ("train", 1), ("held_out", 0)):
            rows = dataset.rows(split, pass_number)
            numbered = iter(rows)
            for shard in dataset.shards(split, pass_number):
                columns = dataset.open_shard(shard)
                for number in range(len(columns)):
                    row = next(numbered)
                    begin, end = columns.input_offsets[number : number + 2]
                    assert np.array_equal(row.input_ids, columns.input_ids[begin:end])
                    assert row.next_sentence_label == columns.next_sentence_label[number]
            assert next(numbered, None) is None
            assert len(rows) == sum(shard.rows for shard in dataset.shards(split, pass_number))
        assert not row.input_ids.flags.writeable
        assert not row.input_ids.flags.owndata

    def test_rows_are_indexed_like_a_list(self, dataset: bertrain.Dataset) -> None:
        rows = dataset.rows()
        assert np.array_equal(rows[-1].input_ids, rows[len(rows) - 1].input_ids)
        assert [len(row.input_ids) for row in rows[2:5]] == [len(rows[number].input_ids) for number in (2, 3, 4)]
        with pytest.raises(IndexError):
            rows[len(rows)]

    def test_a_row_holds_inputs_and_labels(self, dataset: bertrain.Dataset) -> None:
        row, pieces = dataset.rows()[0], dataset.vocabulary.pieces
        assert pieces[row.input_ids[0]] == "[CLS]"
        assert pieces[row.input_ids[row.segment_a_length - 1]] == "[SEP]"
        assert row.token_type_ids.sum() == len(row.input_ids) - row.segment_a_length
        assert np.flatnonzero(row.labels != -100).tolist() == row.masked_lm_positions.tolist()
        assert row.labels[row.masked_lm_positions].tolist() == row.masked_lm_ids.tolist()

    def test_torch_batches_are_padded_and_equal_with_workers(self, dataset: bertrain.Dataset) -> None:
        rows = dataset.to_torch()
        pickle.loads(pickle.dumps(rows))  # noqa: S301  # ours, for a spawned worker
        batches = [
            next(iter(DataLoader(rows, batch_size=8, collate_fn=rows.collate, num_workers=workers)))
            for workers in (0, 1)
        ]
        assert batches[0].keys() == {"input_ids", "token_type_ids", "attention_mask", "labels", "next_sentence_label"}
        for name, tensor in batches[0].items():
            assert torch.equal(tensor, batches[1][name])
        lengths = [len(row.input_ids) for row in dataset.rows()[:8]]
        assert batches[0]["attention_mask"].sum(1).tolist() == lengths
        assert batches[0]["input_ids"].shape == batches[0]["labels"].shape == (8, max(lengths))
        shortest = int(np.argmin(lengths))
        assert (batches[0]["input_ids"][shortest, min(lengths) :] == dataset.manifest.vocabulary.pad_id).all()
        assert (batches[0]["labels"][shortest, min(lengths) :] == -100).all()
        assert batches[0]["next_sentence_label"].tolist() == [row.next_sentence_label for row in dataset.rows()[:8]]

    def test_hugging_face_datasets_has_the_same_rows(self, dataset: bertrain.Dataset) -> None:
        table = dataset.to_hugging_face("train", 1)
        rows = dataset.rows("train", 1)
        assert len(table) == len(rows)
        assert table[3]["input_ids"] == rows[3].input_ids.tolist()
        assert table[-1]["masked_lm_ids"] == rows[-1].masked_lm_ids.tolist()
        lengths = table.map(lambda row: {"length": len(row["input_ids"])})["length"]
        assert list(lengths) == [len(row.input_ids) for row in rows]

    def test_shards_that_are_mapped_again_give_the_same_rows(
        self, dataset: bertrain.Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shards = [*dataset.shards("train", 0), *dataset.shards("train", 1)]
        rows = bertrain.RowSequence(store_at(dataset.place), shards, dataset.manifest)
        far = len(rows) - 1
        first, last = rows[0].input_ids.copy(), rows[far].input_ids.copy()
        monkeypatch.setattr("bertrain.rows.MOST_OPEN", 1)
        rows = bertrain.RowSequence(store_at(dataset.place), shards, dataset.manifest)
        for _ in range(2):
            assert np.array_equal(rows[0].input_ids, first)
            assert np.array_equal(rows[far].input_ids, last)

    def test_a_url_is_read_like_a_folder(self, dataset: bertrain.Dataset) -> None:
        with object_store() as bucket:
            upload(Path(dataset.place), f"{bucket}/dataset")
            far = bertrain.Dataset(f"{bucket}/dataset")
            assert far.vocabulary == dataset.vocabulary
            rows = pickle.loads(pickle.dumps(far.rows()))  # noqa: S301  # ours, for a spawned worker
            assert [row.labels.tolist() for row in rows] == [row.labels.tolist() for row in dataset.rows()]
            assert far.to_hugging_face()[5] == dataset.to_hugging_face()[5]
            assert bertrain.inspect(far) == bertrain.inspect(dataset)
            assert bertrain.verify(far) == []

    def test_rows_that_the_manifest_does_not_describe_are_refused(
        self, dataset: bertrain.Dataset, tmp_path: Path
    ) -> None:
        """Whoever wrote the manifest can have written the digest, too."""
        folder = Path(shutil.copytree(dataset.place, tmp_path / "hostile"))
        manifest, (first, *others) = dataset.manifest, dataset.manifest.shards
        rows = dataset.open_shard(first)
        positions = rows.masked_lm_positions + np.uint16(1_000)
        with (folder / first.name).open("wb") as stream:
            size, sha256 = write_shard(stream, replace(rows, masked_lm_positions=positions), manifest.vocabulary.sha256)
        lying = [first.model_copy(update={"bytes": size, "sha256": sha256}), *others]
        write_manifest(folder, manifest.model_copy(update={"shards": lying}))
        hostile = bertrain.Dataset(folder)
        split, number = first.split, first.pass_number
        for read in (
            lambda: hostile.open_shard(hostile.manifest.shards[0]),
            lambda: hostile.rows(split, number)[0],
            lambda: hostile.to_torch(split, number)[0],
            lambda: hostile.to_hugging_face(split, number),
        ):
            with pytest.raises(bertrain.UserError, match="does not contain the rows that the manifest describes"):
                read()

    def test_a_folder_that_is_not_a_data_set_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(bertrain.UserError, match="no such data set"):
            bertrain.Dataset(tmp_path / "nowhere")

    def test_a_missing_pass_is_named(self, dataset: bertrain.Dataset) -> None:
        for read in (dataset.shards, dataset.rows, dataset.to_torch, dataset.to_hugging_face):
            with pytest.raises(bertrain.UserError, match="no held_out rows in pass 1"):
                read("held_out", 1)


class TestChecks:
    def test_verify_finds_failures_in_damaged_data_sets_only(self, dataset: bertrain.Dataset) -> None:
        assert bertrain.verify(dataset) == bertrain.verify(Path(dataset.place)) == []
        file = Path(dataset.place) / dataset.shards()[0].name
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        try:
            (failure,) = bertrain.verify(dataset)
            assert failure.file == dataset.shards()[0].name
            with pytest.raises(bertrain.UserError, match="damaged"):
                dataset.rows()[0]
            with pytest.raises(bertrain.UserError, match="damaged"):
                dataset.to_hugging_face()
        finally:
            file.write_bytes(content)

    def test_pairs_are_decoded(self, dataset: bertrain.Dataset) -> None:
        pairs = bertrain.inspect(dataset, rows=3)
        assert len(pairs) == 3
        row, pieces = dataset.rows()[0], dataset.vocabulary.pieces
        assert [token.piece for token in pairs[0].tokens] == [pieces[number] for number in row.input_ids]
        assert len(pairs[0].segment_a) == row.segment_a_length
        originals = [token.original for token in pairs[0].tokens if token.change]
        assert originals == [pieces[number] for number in row.masked_lm_ids]
        assert str(pairs[0]).startswith("[CLS] ")
        with pytest.raises(bertrain.UserError, match="no train rows in pass 2"):
            bertrain.inspect(dataset, pass_number=2)


class TestTraining:
    def test_a_run_is_resumed_and_its_model_loaded(
        self, recipe: bertrain.Recipe, dataset: bertrain.Dataset, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(bertrain.UserError, match="no checkpoint"):
            bertrain.export(_begun(recipe), Path(recipe.runs) / "out")
        lines: list[str] = []
        training = bertrain.train(recipe, progress=lines.append)
        assert training.finished
        assert training.metrics[-1]["step"] == 12
        assert any(line.startswith("step 12/12") for line in lines)
        assert bertrain.train(recipe).finished  # at once: it has been trained
        assert len(bertrain.load_pretrained(training.run).vocabulary) == dataset.manifest.vocabulary.size
        assert capfd.readouterr() == ("", "")

    def test_an_error_of_rank_0_is_a_user_error(
        self, recipe: bertrain.Recipe, tmp_path: Path, dataset: bertrain.Dataset
    ) -> None:
        wanted = recipe.model_copy(
            update={
                "runs": str(tmp_path),
                "train": recipe.train.model_copy(update={"initialise_from": str(tmp_path / "none")}),
            }
        )
        with pytest.raises(bertrain.UserError, match="none"):
            bertrain.train(wanted)

    def test_a_rank_of_torchrun_is_refused(self, recipe: bertrain.Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RANK", "LOCAL_RANK"):
            monkeypatch.setenv(name, "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(bertrain.UserError, match="starts its ranks itself"):
            bertrain.train(recipe)

    def test_plan_depends_on_recipe_and_hardware(self, recipe: bertrain.Recipe) -> None:
        slow, fast = (bertrain.plan(recipe, "cpu", peak_flops=flops) for flops in (1e11, 1e13))
        assert slow.training_s(2) > fast.training_s(2)
        with pytest.raises(bertrain.UserError, match="no profile"):
            bertrain.plan(recipe, "abacus")


def _begun(recipe: bertrain.Recipe) -> Path:
    run = Path(recipe.runs) / "begun"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text(f'base = "demo"\n[data]\ndataset = "{recipe.data.dataset}"\n')
    return run
