"""Warnings about the settings of a recipe, before a command starts its work."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError
from configs.schema import ClusterConfig, Recipe, VocabularyConfig, differing_settings, idle_settings
from preprocessing.dataset import MANIFEST, Manifest, vocabulary_file

logger = logging.getLogger(__name__)


def warn_of_settings(recipe: Recipe, manifest: Manifest | None = None) -> None:
    """Warn of settings that have no effect and, with the data set's manifest, of those that did not make it.

    With the manifest, also raises `UserError` if the recipe names a vocabulary that does not exist.
    """
    for sentence in idle_settings(recipe):
        logger.warning(sentence)
    if manifest is None:
        return
    check_vocabulary_file(recipe.data.vocabulary)
    for one in differing_settings(manifest.recipe, recipe.data):
        logger.warning("the data set was made with another setting, which holds: %s", one)
    if recipe.train.evaluate_every_steps and not manifest.select("held_out", 0):
        logger.warning("train.evaluate_every_steps has no effect: the data set has no held-out rows")


def settle(recipe: Recipe) -> Recipe:
    """Check a recipe against its data sets, warn of its settings, and return it as it trains.

    Raises `UserError` if a data set is incomplete or does not fit. Call it once, before the ranks start.
    """
    from pretrain.data import open_data

    data = open_data(recipe)
    warn_of_settings(recipe, data.main.manifest)
    return data.settled(recipe)


def settle_chain(recipes: Sequence[Recipe], *, prepares: bool) -> list[Recipe]:
    """Return the recipes of a chain of jobs, settled where their data sets exist and the chain does not make them.

    Raises `UserError` for a data set that does not fit, and for a vocabulary that neither exists nor is made before.
    """
    coming: list[str] = []
    settled = []
    for recipe in recipes:
        check_vocabulary_file(recipe.data.vocabulary, coming)
        if not prepares and Path(recipe.data.dataset, MANIFEST).is_file():
            recipe = settle(recipe)
        else:
            warn_of_settings(recipe)
        settled.append(recipe)
        coming += [str(Path(recipe.data.dataset, vocabulary_file(recipe.data.vocabulary)).absolute())] * prepares
    return settled


def check_gpus(recipe: Recipe) -> None:
    """Raise `UserError` if the GPUs to request from Slurm contradict the device or the ranks."""
    cluster = recipe.cluster
    gpus, by_option = cluster.gpus_per_node, any(re.match("--(gres|gpus)", one) for one in cluster.sbatch_options)
    place = f"cluster.gpus_per_node = {gpus}"
    if cluster.device == "cpu" and gpus:
        raise UserError(
            'cluster.device is "cpu"', place=place, fix="set cluster.gpus_per_node=0, or cluster.device=auto"
        )
    if cluster.device == "cuda" and not gpus and not by_option:
        raise UserError('cluster.device is "cuda"', place=place, fix="set it to the GPUs of a node that the job needs")
    if cluster.device != "cpu" and 0 < gpus < cluster.ranks_per_node:
        cause = f"cluster.ranks_per_node is {cluster.ranks_per_node}, but a rank needs a GPU of its own"
        raise UserError(cause, place=place, fix="lower cluster.ranks_per_node, or raise this")


def check_nodes(recipe: Recipe, nodes: int) -> None:
    """Raise `UserError` if the recipe's nodes are more than those on which a command starts ranks."""
    asked = recipe.cluster.nodes
    if asked not in (1, nodes):
        fix = f"use `bertrain submit`, run it on each node with --nnodes {asked}, or set cluster.nodes={nodes}"
        cause = f"the recipe trains on {asked} nodes, but this command starts ranks on {nodes}"
        raise UserError(cause, place=f"cluster.nodes = {asked}", fix=fix)


def check_environment(cluster: ClusterConfig) -> None:
    """Raise `UserError` for keys that describe how a job starts Python, where a command trains with its own Python."""
    without = {"setup": "[]", "container": "[]", "python": ""}
    found = {key: getattr(cluster, key) for key in without if getattr(cluster, key)}
    if shutil.which(found.get("python", "")) == sys.executable:
        del found["python"]
    if found:
        cause = "this command runs the model with its own Python, in the environment in which it is started"
        fix = f"start it in the one that you want, with {' '.join(f'cluster.{key}={without[key]}' for key in found)}"
        raise UserError(cause, place=", ".join(f"cluster.{key} = {value!r}" for key, value in found.items()), fix=fix)


def check_ranks(cluster: ClusterConfig, environment: Mapping[str, str]) -> None:
    """Raise `UserError` if torchrun or srun, whose variables are in `environment`, starts other ranks than asked."""
    counts = [environment.get(name, "") for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")]
    if not all(count.isdecimal() and int(count) for count in counts):
        return  # a rank says what is missing
    world_size, on_node = map(int, counts)
    for key, started in (("ranks_per_node", on_node), ("nodes", world_size // on_node)):
        asked = getattr(cluster, key)
        if asked not in (0, 1, started):
            cause = f"torchrun or srun starts {started}, not {asked}"
            fix = f"start as many, or set cluster.{key}={started}"
            raise UserError(cause, place=f"cluster.{key} = {asked}", fix=fix)


def make_private(recipe: Recipe) -> None:
    """Make the files that this process and its ranks create readable by their owner only, if the recipe says so."""
    if recipe.cluster.private:
        os.umask(0o077)


@contextmanager
def private_files(recipe: Recipe) -> Iterator[None]:
    """The same inside the block."""
    before = os.umask(0)
    os.umask(before)
    make_private(recipe)
    try:
        yield
    finally:
        os.umask(before)


def check_vocabulary_file(vocabulary: VocabularyConfig, coming: Sequence[str] = ()) -> None:
    """Raise `UserError` if the vocabulary's `file` neither exists nor is among those that are `coming`."""
    file = vocabulary.file
    if file and not Path(file).is_file() and str(Path(file).absolute()) not in coming:
        fix = "give its present path; or `data.vocabulary.file=`, if the data set is prepared, since it has a copy"
        raise UserError("no such vocabulary", place=f"data.vocabulary.file = {file}", fix=fix)
