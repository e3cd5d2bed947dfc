from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import DataConfig, Recipe, TrainConfig
from launch.ranks.run_folder import differences
from preprocessing.dataset.manifest import Manifest, write_manifest
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS
from pretrain.data.dataset import Dataset, open_dataset
from pretrain.data.training_data import check_fits, open_data
from tests.pretrain.synthetic import write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dataset"
    write_dataset(folder, [[13, 20], [20, 5]])
    return folder


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def recipe(folder: Path, **fields: object) -> DataConfig:
    vocabulary = {"size": 100, "lowercase": True}
    return DataConfig.model_validate({"dataset": str(folder), "vocabulary": vocabulary, **fields})


def test_matching_data_set_is_accepted(folder: Path, manifest: Manifest) -> None:
    check_fits(Dataset(str(folder), manifest), recipe(folder))


@pytest.mark.parametrize(
    ("fields", "change", "words"),
    [
        ({"max_seq_length": 24}, {}, "rows of up to 32 tokens, but the recipe allows 24"),
        ({}, {"objective": "sop"}, "objective `sop`, but the recipe has `nsp`"),
        ({"vocabulary": {"size": 100, "lowercase": False}}, {}, "vocabulary is lower-cased, but the recipe's is cased"),
        ({"vocabulary": {"size": 100, "strip_accents": False}}, {}, "strip_accents True, but the recipe has False"),
        ({}, {"dupe_factor": 3}, "pass 2 of 3 has no training rows"),
        ({}, {"shards": []}, "pass 0 of 2 has no training rows"),
    ],
)
def test_data_set_that_does_not_fit_is_refused(
    folder: Path, manifest: Manifest, fields: dict[str, object], change: dict[str, object], words: str
) -> None:
    fields = {"max_predictions_per_seq": 20, **fields}
    with pytest.raises(UserError, match=words) as refused:
        check_fits(Dataset(str(folder), manifest.model_copy(update=change)), recipe(folder, **fields))
    assert refused.value.place == str(folder)
    assert refused.value.fix


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    dataset = Dataset(str(tmp_path / "dataset"), write_dataset(tmp_path / "dataset", [[5]], vocabulary_size=150))
    with pytest.raises(UserError, match="150 entries, but the recipe allows at most 100"):
        check_fits(dataset, recipe(tmp_path / "dataset"))
    given = tmp_path / "given.txt"
    given.write_text("\n".join([*SPECIAL_TOKENS, "other"]))
    with pytest.raises(UserError, match=r"vocabulary differs from .*given\.txt"):
        check_fits(dataset, recipe(tmp_path / "dataset", vocabulary={"file": str(given)}))
    (tmp_path / "dataset" / "vocab.txt").write_text("other\n")
    with pytest.raises(UserError, match=r"vocab\.txt is missing, or is not the vocabulary"):
        check_fits(dataset, recipe(tmp_path / "dataset", vocabulary={"size": 150}))


def mixed(main: Path, *parts: tuple[Path, float], **train: object) -> Recipe:
    mixture = [{"dataset": str(place), "weight": weight} for place, weight in parts]
    return Recipe.model_validate(
        {"data": recipe(main).model_dump(), "train": {"mixture": mixture, **train}, "optimizer": {"warmup_steps": 1}}
    )


def test_a_recipe_trains_on_its_data_set_or_on_a_mixture(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    alone = open_data(mixed(folder))
    assert (alone.mixed, alone.digest) == ([alone.main], manifest.digest)
    write_dataset(tmp_path / "other", [[7]])
    both = open_data(mixed(folder, (folder, 3.0), (tmp_path / "other", 1.0)))
    assert [dataset.place for dataset in both.mixed] == [str(folder), str(tmp_path / "other")]
    assert both.main.place == str(folder)
    more = open_data(mixed(folder, (folder, 3.0), (tmp_path / "other", 2.0)))
    assert len({alone.digest, both.digest, more.digest}) == 3


def test_a_mixture_has_one_vocabulary(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", [[7]], vocabulary_size=99)
    with pytest.raises(UserError, match="its vocabulary differs from that of") as refused:
        open_data(mixed(folder, (folder, 1.0), (tmp_path / "other", 1.0)))
    assert refused.value.place == str(tmp_path / "other")
    with pytest.raises(UserError, match="no such data set"):
        open_data(mixed(folder, (folder, 1.0), (tmp_path / "none", 1.0)))


def test_a_data_set_at_a_url_is_staged(folder: Path, tmp_path: Path, manifest: Manifest) -> None:
    staged = open_dataset(f"file://{folder}", TrainConfig(stage_in=str(tmp_path)))
    assert staged.manifest == manifest
    assert staged.has_its_vocabulary()
    entry = manifest.shards[0]
    assert len(staged.open_shard(entry, checked=False)) == entry.rows
    with pytest.raises(UserError, match="no such data set, or not finished"):
        open_dataset(f"file://{tmp_path}/none", TrainConfig(stage_in=str(tmp_path)))


def test_folder_is_staged_if_stage_in_is_set(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_dataset(str(folder), TrainConfig()).stage is None
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    staged = open_dataset(str(folder), TrainConfig(stage_in="$SCRATCH/shards", stage_gib=2.0)).stage
    assert staged is not None
    assert (staged.folder.parent, staged.most_bytes) == (tmp_path / "shards", 2 << 30)


def test_a_recipe_that_states_other_settings_is_refused_and_its_fix_works(tmp_path: Path) -> None:
    place = tmp_path / "dataset"
    manifest = write_dataset(place, [[13]])
    made = recipe(place, max_seq_length=32, seed=7, language="de")
    write_manifest(place, manifest.model_copy(update={"recipe": made.byte_fields()}))

    def opened(**fields: object) -> DataConfig:
        data = recipe(place, max_seq_length=32, **fields)
        open_data(Recipe(data=data))
        return data

    opened(seed=7, language="de")
    opened()  # defaults that differ: the data set's values hold, and `train` names them
    with pytest.raises(UserError, match=r"data\.language is \"de\" \(recipe: \"fr\"\), data\.seed is 7") as refused:
        opened(seed=9, language="fr", whole_word_masking=False)
    assert refused.value.fix.endswith('or set data.language="de" data.seed=7')


def test_epochs_and_tokens_determine_the_steps(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset", [[30, 30], [40, 20]])
    base = {"data": recipe(tmp_path / "dataset", max_seq_length=32).model_dump(), "optimizer": {"warmup_share": 0.1}}

    def steps(**train: object) -> int:
        made = Recipe.model_validate(base | {"train": {"global_batch_size": 10, "steps": 7} | train})
        return open_data(made).settled(made).train.steps

    assert steps() == 7
    assert steps(epochs=1.0) == 6
    assert steps(epochs=2.5) == 15
    mean = open_data(Recipe.model_validate(base)).mean_length
    assert steps(tokens=round(200 * mean)) == 20
    base["optimizer"] = {"warmup_steps": 6}
    with pytest.raises(UserError, match=r"train\.epochs: optimizer\.warmup_steps 6 is not below train\.steps 6"):
        steps(epochs=1.0)


def test_tokens_per_step_determine_the_rows(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset", [[30, 30], [40, 20]], full_share=0.2)
    data = {"data": recipe(tmp_path / "dataset", max_seq_length=32).model_dump(), "optimizer": {"warmup_share": 0.1}}
    made = Recipe.model_validate(data | {"train": {"global_batch_tokens": 450, "epochs": 1.0}})
    opened = open_data(made)
    settled = opened.settled(made)
    assert settled.train.global_batch_size == round(450 / opened.mean_length) > 14
    assert settled.train.steps == round(60 / settled.train.global_batch_size)
    assert opened.settled(settled) == settled
    assert made.with_batch_of(32).train.global_batch_size == 14  # full rows, before the data set is there
    assert differences(made, settled) == {}  # it is the same run
    other = made.model_copy(update={"train": made.train.model_copy(update={"global_batch_tokens": 900})})
    assert differences(made, other) == {"train.global_batch_tokens": (450, 900)}
