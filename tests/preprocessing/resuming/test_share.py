"""Shares of a data set: every item is in one of them, and whoever makes what when, the bytes are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import CorpusConfig, DataConfig
from preprocessing.dataset.manifest import MANIFEST, Manifest
from preprocessing.documents.input_files import SourceFile
from preprocessing.documents.plan import make_plan
from preprocessing.documents.progress import Progress
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming.folder import claimed
from preprocessing.resuming.identity import Identity
from preprocessing.resuming.share import Share
from preprocessing.storage.places import store_at
from tests.preprocessing.corpora import digests, small_config

# Makes the share that its command line names, of the recipe that stands before it.
PROGRAM = """
import sys
from configs.schema import DataConfig
from preprocessing.pipeline import prepare_share
from preprocessing.resuming.share import Share
made = prepare_share(DataConfig.model_validate_json(sys.argv[1]), Share.parse(sys.argv[2]))
print(made if isinstance(made, list) else "whole")
"""


@pytest.fixture
def config(tmp_path: Path, corpus: Path) -> DataConfig:
    return small_config(tmp_path / "dataset", corpus)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "1/3/4", "-1/3", "²/3"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a share"):
        Share.parse(text)


@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=40), st.integers(1, 9))
def test_every_item_is_in_one_share_and_none_has_much_more_than_another(sizes: list[int], count: int) -> None:
    recipe = DataConfig(corpora=[CorpusConfig(paths=["p"], format="text")], group_bytes=1_000)
    plan = make_plan([[SourceFile(f"{number:02}", size) for number, size in enumerate(sizes)]], recipe)
    shares = [Share(number, count) for number in range(1, count + 1)]
    hands = [share.own(plan) for share in shares]
    assert sorted(item.number for hand in hands for item in hand) == list(range(len(plan.items)))
    weights = [sum(item.weight for item in hand) for hand in hands]
    assert max(weights) - min(weights) <= max(item.weight for item in plan.items)
    for share, hand in zip(shares, hands, strict=True):
        assert sorted(item.number for item in [*hand, *share.others(plan)]) == list(range(len(plan.items)))
        assert share.holders(plan, hand) == ([share.number] if hand else [])


def test_shares_one_after_the_other_make_the_same_bytes(config: DataConfig, whole: dict[str, str]) -> None:
    assert prepare_share(config, Share(3, 3)) == [1, 2]
    assert prepare_share(config, Share(1, 3)) == [2]
    assert prepare_share(config, Share(1, 3)) == [2]
    assert not (Path(config.dataset) / MANIFEST).exists()
    assert isinstance(prepare_share(config, Share(2, 3)), Manifest)
    assert digests(Path(config.dataset)) == whole


@pytest.mark.parametrize("is_gone", [True, False])
def test_the_last_share_checks_what_others_have_made(config: DataConfig, whole: dict[str, str], is_gone: bool) -> None:
    assert prepare_share(config, Share(1, 2)) == [2]
    shard = min(Path(config.dataset).glob("shards/*"))
    if is_gone:
        shard.unlink()
    else:
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    assert prepare_share(config, Share(2, 2)) == [1]
    assert isinstance(prepare_share(config, Share(1, 2)), Manifest)
    assert digests(Path(config.dataset)) == whole


def prepare_side_by_side(config: DataConfig, count: int) -> None:
    """Prepare all shares at the same time, each in a process of its own."""
    argv = [sys.executable, "-c", PROGRAM, config.model_dump_json()]
    shares = [
        subprocess.Popen([*argv, f"{number}/{count}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(1, count + 1)
    ]
    ended = [share.communicate() for share in shares]
    assert [share.returncode for share in shares] == [0] * count, ended
    assert "whole\n" in [output for output, _ in ended]


def test_shares_side_by_side_make_the_same_bytes(config: DataConfig, whole: dict[str, str]) -> None:
    prepare_side_by_side(config, 3)
    assert digests(Path(config.dataset)) == whole


def test_more_shares_than_work_items(config: DataConfig, whole: dict[str, str]) -> None:
    made = [prepare_share(config, Share(number, 7)) for number in range(1, 8)]
    assert [isinstance(each, Manifest) for each in made] == [False] * 4 + [True] * 3
    assert digests(Path(config.dataset)) == whole


def test_interrupted_share_is_told_and_the_whole_can_be_finished_without_shares(
    config: DataConfig, whole: dict[str, str]
) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "groups":  # it has just begun
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_share(config, Share(2, 2), progress=stop)
    assert prepare_share(config, Share(1, 2)) == [2]
    prepare(config)
    assert digests(Path(config.dataset)) == whole


def test_damage_to_another_share_s_group_is_left_to_it(config: DataConfig, whole: dict[str, str]) -> None:
    manifest = prepare(config)
    group = next(shard for shard in manifest.shards if shard.group == "00003.0000")
    (Path(config.dataset) / group.name).write_bytes(b"")
    waiting = [prepare_share(config, Share(number, 5)) for number in (1, 2)]
    assert waiting[0] == waiting[1]
    assert isinstance(waiting[0], list)
    assert len(waiting[0]) == 1
    assert isinstance(prepare_share(config, Share(waiting[0][0], 5)), Manifest)
    assert digests(Path(config.dataset)) == whole


def test_shares_share_the_folder_with_each_other_alone(config: DataConfig) -> None:
    job = Identity(config.byte_fields(), "input", None)
    folder = store_at(config.dataset)
    with claimed(folder, job, Share(1, 2)), claimed(folder, job, Share(2, 2)):
        for share in (Share(1, 2), Share(1, 1)):
            with pytest.raises(UserError, match="another preparation is running here"), claimed(folder, job, share):
                pass
    with claimed(folder, job), pytest.raises(UserError, match="another"), claimed(folder, job, Share(1, 2)):
        pass
