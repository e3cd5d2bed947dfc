"""Fixes of commands that train, evaluate, plot and submit, and of recipes and overrides."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.integration.fixes.case import COMMAND, Case, Damage, cut, edit, without, write
from tests.integration.small import bertrain

PREPARE, TRAIN, RUN = "prepare recipe.toml", "train recipe.toml", "runs/small"
NEW = f"{TRAIN} name=other"
CASED, SMALLER = "data.vocabulary.lowercase=false", "data.vocabulary.size=200"
METRICS = f"{RUN}/metrics.jsonl"
STEP = f"{RUN}/checkpoints/step_00000012"
VOCABULARY_FILE = r"data\.vocabulary\.file"
PRETRAINED = f"{NEW} train.initialise_from={RUN} model.num_hidden_layers=3"
SUBMIT = "submit recipe.toml --dry-run"
ALONE = "its own Python"


def without_steps(folder: Path) -> None:
    (folder / METRICS).unlink()
    shutil.rmtree(folder / RUN / "checkpoints")
    (folder / RUN / "latest").unlink()


def damage_records(folder: Path) -> None:
    (folder / METRICS).write_text((folder / METRICS).read_text().replace("{", "["))


def prepared(setting: str) -> Damage:
    """Return a damage that prepares the data set `d` with this setting, in place of an earlier one."""

    def prepare(folder: Path) -> None:
        ended = bertrain(folder, *PREPARE.split(), "data.dataset=d", "--overwrite", setting)
        assert ended.returncode == 0, ended.stderr

    return prepare


def of_more_text(folder: Path) -> None:
    """Prepare `d` from more text than `dataset`, with the same settings."""
    text = (folder / "corpus.txt").read_text()
    (folder / "corpus.txt").write_text(text + "\n\nba be bi.\nbo bu ba.\n")
    prepared("data.workers=1")(folder)
    (folder / "corpus.txt").write_text(text)


def three_layers(folder: Path) -> None:
    remove_seal(folder)
    edit(f"{RUN}/recipe.toml", "num_hidden_layers = 2", "num_hidden_layers = 3")(folder)


def unset_rank(_: Path) -> None:
    del os.environ["RANK"], os.environ["WORLD_SIZE"]


def remove_seal(folder: Path) -> None:
    lines = (folder / RUN / "recipe.toml").read_text().splitlines(keepends=True)
    (folder / RUN / "recipe.toml").write_text("".join(lines[1:-1]))


CASES = [
    # Recipes and settings.
    Case(f"{TRAIN} train.step=14", "unknown key `train.step`", r"train\.steps", as_argument="{}=14",
         instead_of="train.step=14"),
    Case(f"{TRAIN} train.log_every_step=", "cannot unset the unknown key", r"train\.log_every_steps",
         as_argument="{}=", instead_of="train.log_every_step="),
    Case(f"{TRAIN} train.steps", "not an override", "section.key=value", as_argument="train.steps=14",
         instead_of="train.steps"),
    Case(f"{TRAIN} data.corpora.1.format=text", "no such key", r"data\.corpora\.0", as_argument="{}.format=text",
         instead_of=r"data\.corpora\.1.*"),
    Case(f"{TRAIN} checkpoint=5", "not a value", r"\[(checkpoint)\]", as_argument="{}.every_steps=5",
         instead_of="checkpoint=5"),
    Case(f"{TRAIN} optimizer.warmup_steps=12", "is not below train.steps 12", "lower the former",
         as_argument="optimizer.warmup_steps=2", site="configs/loading.py:_explain: "),
    Case(f"{TRAIN} cluster.device=gpu", "cluster.device", "'(cpu)'", as_argument="cluster.device={}",
         site="configs/loading.py:_explain: "),
    Case(f"train {RUN}", "edited or damaged", "remove its first and last lines",
         edit(f"{RUN}/recipe.toml", "steps = 12", "steps = 14"), edit=remove_seal),
    Case(f"train {RUN} train.steps=14", "edited or damaged", r"give keys as `bertrain train RUN section.key=value`",
         edit(f"{RUN}/recipe.toml", "steps = 12", "steps = 14"), edit=edit(f"{RUN}/recipe.toml", "steps = 14",
         "steps = 12")),
    # The data set.
    Case(TRAIN, "no such data set", COMMAND, without("dataset"), None),
    Case(TRAIN, "vocab.txt is missing, or is not the vocabulary", COMMAND, cut("dataset/vocab.txt"), None),
    Case(f"{NEW} data.masked_lm_prob=0.4", "made with other settings than", r"data\.masked_lm_prob=0\.15"),
    Case(f"{NEW} data.max_seq_length=32", "", r"data\.max_seq_length=48"),
    Case(f"{NEW} data.objective=sop", "", r"data\.objective=nsp"),
    Case(f"{TRAIN} data.vocabulary.file=none.txt", "no such vocabulary", rf"{VOCABULARY_FILE}=(?=`)"),
    Case(f"{NEW} train.stage_in={{folder}}/s train.stage_gib=1e-6", "which one window needs", "raise it",
         as_argument="train.stage_gib=1"),
    Case(f"{NEW} train.stage_in=$NOPE", "NOPE is not set", "a folder on the node's disk",
         as_argument="train.stage_in={folder}/s", site="pretrain/data/dataset.py:_stage: set"),
    Case(f"{NEW} train.epochs=0.1 optimizer.warmup_steps=11", "", r"optimizer\.warmup_share", as_argument="{}=0.1",
         site="pretrain/data/training_data.py:TrainingData.settled"),
    # The run.
    Case(f"{TRAIN} model.hidden_dropout_prob=0.3", "a run of another recipe", "name=(?=…)", as_argument="{}third"),
    Case(NEW, "the folder is not a run", "name=(?=…)", write("runs/other/x/y", ""), "{}third"),
    Case(f"{TRAIN} --resume none", "no such checkpoint", "--resume auto"),
    Case(f"export {RUN} -o out", "in the checkpoint of step 12", r"model\.num_hidden_layers back to 2", three_layers,
         edit=edit(f"{RUN}/recipe.toml", "num_hidden_layers = 3", "num_hidden_layers = 2")),
    Case(f"evaluate {RUN}", "no valid checkpoint", COMMAND, without(f"{RUN}/checkpoints"), None),
    Case(f"export {RUN} -o out", "no valid checkpoint", COMMAND, without(f"{RUN}/checkpoints"), None),
    Case(f"train {RUN} train.steps=14", "no valid checkpoint", COMMAND, without(f"{RUN}/checkpoints"), None),
    Case(f"evaluate {RUN}", "no checkpoint yet", COMMAND, without_steps, None),
    Case(f"export {RUN} -o out", "no checkpoint yet", COMMAND, without_steps, None),
    Case(f"plot {RUN}", "the run has recorded no steps yet", COMMAND, without_steps, None),
    Case(f"plot {RUN}", "all its records are damaged", COMMAND, damage_records, None),
    Case(PRETRAINED, "but the weights to initialise from have 2", r"model\.num_hidden_layers=2"),
    Case(PRETRAINED, "but the weights to initialise from have 2", r"train\.initialise_by=tiling"),
    Case(f"{NEW} train.initialise_from={RUN} train.initialise_by=tiling model.hidden_size=64",
         "wide, but those of the weights to initialise from", r"model\.num_attention_heads=4"),
    # Machines and launchers.
    Case(f"{NEW} cluster.device=cuda", "no GPU is visible", "cluster.device=cpu"),
    Case(f"{NEW} train.precision=fp16", "needs GPUs", '"(fp32)"', as_argument="train.precision={}"),
    Case(f"{TRAIN} cluster.nodes=2", "the recipe trains on 2 nodes", "cluster.nodes=1"),
    Case(f"{TRAIN} 'cluster.container=[\"x\"]'", ALONE, r"cluster\.container=\[\]"),
    Case(f"evaluate {RUN} 'cluster.container=[\"x\"]'", ALONE, r"cluster\.container=\[\]"),
    Case(f"{TRAIN} 'cluster.setup=[\"x\"]'", ALONE, r"cluster\.setup=\[\]"),
    Case(f"{TRAIN} cluster.python=/none", ALONE, r"cluster\.python=(?=\.)"),
    Case(f"{SUBMIT} cluster.gpus_per_node=4", 'cluster.device is "cpu"', "cluster.gpus_per_node=0"),
    Case(f"{SUBMIT} cluster.gpus_per_node=4", 'cluster.device is "cpu"', "cluster.device=auto"),
    Case(f"{SUBMIT} cluster.device=cuda", 'cluster.device is "cuda"', "set it to the GPUs",
         as_argument="cluster.gpus_per_node=1"),
    Case(f"{SUBMIT} cluster.device=auto cluster.gpus_per_node=1 cluster.ranks_per_node=2",
         "a rank needs a GPU of its own",
         r"lower (cluster\.ranks_per_node)", as_argument="{}=1"),
    Case(f"{SUBMIT} --shares 2", "nothing is prepared", "--prepare"),
    Case(f"{SUBMIT} --to pbs", "no launcher", "local", as_argument="--to {}"),
    Case(f"{SUBMIT} --sweep train.steps", "is no sweep", r"optimizer\.learning_rate=\S+3e-4", as_argument="--sweep {}"),
    Case(f"{SUBMIT} --sweep data.seed=1,2", "the runs of a sweep share a data set", "prepare each data set",
         as_argument="data.seed=1", instead_of=r"--sweep|data\.seed=.*"),
    # Evaluations.
    Case("evaluate hf", "no held-out documents", r"data\.dataset=(?=DATASET)", as_argument="{}dataset"),
    Case("config none", "no such recipe", r"shipped names: .*(demo)", instead_of="none"),
    Case(f"{NEW} 'train.mixture=[{{dataset=\"dataset\", weight=1}}, {{dataset=\"d\", weight=1}}]'",
         "its vocabulary differs from that of",
         "one data.vocabulary.file", prepared(SMALLER), None, edit=prepared("data.vocabulary.file=dataset/vocab.txt")),
    Case(f"{NEW} data.dataset=d {SMALLER} train.initialise_from={RUN}", "does not begin with the vocabulary",
         "data.vocabulary.file", prepared(SMALLER), "{}=dataset/vocab.txt", SMALLER,
         edit=prepared("data.vocabulary.file=dataset/vocab.txt")),
    Case(f"{NEW} data.dataset=d {CASED} train.initialise_from={RUN}", "is lower-cased, the other cased",
         r"data\.vocabulary\.lowercase=true", prepared(CASED), edit=prepared("data.vocabulary.file=dataset/vocab.txt"),
         as_argument="data.vocabulary.lowercase=true data.vocabulary.file=dataset/vocab.txt", instead_of=CASED),
    Case(f"{TRAIN} data.dataset=d train.steps=14", "the checkpoint was trained on data set",
         "the data set that the run", of_more_text, "data.dataset=dataset"),
    Case(f"evaluate {RUN} data.dataset=d data.held_out_fraction=0", "the data set has no held-out rows",
         "data.held_out_fraction", prepared("data.held_out_fraction=0"), "{}=0.1",
         edit=prepared("data.held_out_fraction=0.1")),
    Case(f"{NEW} 'train.trackers=[\"mlflow\"]'", "cannot be started", r"remove it from train\.trackers",
         as_argument="train.trackers=[]", environment=(("MLFLOW_TRACKING_URI", "none://host"),)),
    Case(TRAIN, "", "unset RANK and WORLD_SIZE", edit=unset_rank, environment=(("RANK", "0"), ("WORLD_SIZE", "2")),
         site="launch/ranks/surroundings.py:_incomplete"),
    Case("submit recipe.toml", "is not installed: this machine has no Slurm", "--to local",
         environment=(("PATH", "{folder}"),)),
    Case(f"evaluate {RUN} train.step=3", "unknown key", r"train\.steps", as_argument="{}=14",
         instead_of="train.step=3"),
]  # fmt: skip
