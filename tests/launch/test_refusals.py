"""What launchers, recipes and output folders are refused for, and that the fix that each message names works."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.loading import read_layers
from configs.tasks import load_task
from launch.cluster.batch_script import _one_line
from launch.cluster.launchers import find_launcher
from launch.cluster.slurm import _ask
from launch.proposal.corpus import sniff
from launch.ranks.rank_address import expand_counts, slurm_address
from launch.transfer.huggingface import new_pieces
from launch.transfer.seeds import open_seeds
from tests.pretrain.runs import VOCAB


def test_an_unknown_launcher_names_those_that_there_are() -> None:
    with pytest.raises(UserError, match="there is no launcher 'pbs'") as caught:
        find_launcher("pbs")
    assert "mpi" in caught.value.fix.removeprefix("choose one of ").split(", ")
    find_launcher("mpi")


def test_an_error_of_slurm_is_passed_on(tmp_path: Path) -> None:
    program = tmp_path / "sinfo"
    program.write_text("#!/bin/sh\necho 'sinfo: error: Invalid node name specified' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"Invalid node name.* Check `sinfo` and the recipe's \[cluster\]"):
        _ask(str(program))


def test_a_silent_slurm_and_a_relative_path_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_ends(argv: Sequence[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(argv, 60)

    monkeypatch.setattr(subprocess, "run", never_ends)
    with pytest.raises(UserError, match=r"sinfo: Slurm does not answer\. Check `scontrol ping`"):
        _ask("sinfo")
    with pytest.raises(UserError, match=r"runs/a: the path is not absolute\. Give its full path"):
        _one_line(Path("runs/a"))
    assert _one_line(Path("/runs/a")) == Path("/runs/a")


def test_an_empty_file_of_a_corpus_is_named_and_another_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"a.txt: the file is empty. Remove it, or name another one"):
        sniff(str(tmp_path / "a.txt"))
    (tmp_path / "a.txt").write_text("A line of text.\n")
    assert sniff(str(tmp_path / "a.txt"))


def test_a_process_that_srun_did_not_start_is_named() -> None:
    with pytest.raises(UserError, match=r"this process is not a task of srun: .* Start ranks with srun"):
        slurm_address({"SLURM_JOB_ID": "7"})
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]


def test_a_piece_of_two_words_is_named_and_its_parts_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "pieces.txt"
    path.write_text("covid-nineteen\n")
    with pytest.raises(UserError, match="is not a single word: BERT splits at spaces and punctuation"):
        new_pieces(path, VOCAB)
    path.write_text("covid\nnineteen\n")
    assert new_pieces(path, VOCAB) == ["covid", "nineteen"]


def test_results_of_other_settings_are_kept_and_another_folder_works(tmp_path: Path) -> None:
    with open_seeds(tmp_path / "out", {"finetune": {"epochs": 1}}) as seeds:
        seeds.save("seed_0", {})
    with pytest.raises(UserError, match=r"the folder holds results of another finetune\.epochs"):  # noqa: SIM117
        with open_seeds(tmp_path / "out", {"finetune": {"epochs": 2}}):
            pytest.fail("another setting was accepted")
    with open_seeds(tmp_path / "other", {"finetune": {"epochs": 2}}) as seeds:
        assert seeds.result("seed_0") is None


def test_unset_must_be_a_list_and_the_form_that_the_message_shows_works(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('[task]\nkind = "classify"\ndata = "d.csv"\nlabel = "stars"\n')
    recipe = tmp_path / "task.toml"
    recipe.write_text('base = "base.toml"\nunset = "task.label"\n')
    with pytest.raises(UserError, match="`unset` is not a list of keys") as caught:
        read_layers(recipe)
    shown = caught.value.fix.removeprefix("write ").replace("section.key", "task.label")
    recipe.write_text(f'base = "base.toml"\n{shown}\n')
    assert load_task(recipe).task.label is None
