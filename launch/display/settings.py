"""Warnings about the settings of a recipe, before a command starts its work."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from configs.errors import UserError
from configs.schema import Recipe, differing_settings, idle_settings
from preprocessing.dataset import Manifest

logger = logging.getLogger(__name__)


def warn_of_settings(recipe: Recipe, manifest: Manifest | None = None) -> None:
    """Warn of settings that have no effect and, with the data set's manifest, of those that did not make it.

    With the manifest, also raises `UserError` if the recipe names a vocabulary that does not exist.
    """
    for sentence in idle_settings(recipe):
        logger.warning(sentence)
    if manifest is None:
        return
    check_vocabulary_file(recipe)
    for one in differing_settings(manifest.recipe, recipe.data):
        logger.warning("the data set was made with another setting, which holds: %s", one)
    if recipe.train.evaluate_every_steps and not manifest.select("held_out", 0):
        logger.warning("train.evaluate_every_steps has no effect: the data set has no held-out rows")


def check_nodes(recipe: Recipe, nodes: int) -> None:
    """Raise `UserError` if the recipe's nodes are more than those on which a command starts ranks."""
    asked = recipe.cluster.nodes
    if asked not in (1, nodes):
        fix = f"use `bertrain submit`, run it on each node with --nnodes {asked}, or set cluster.nodes={nodes}"
        cause = f"the recipe trains on {asked} nodes, but this command starts ranks on {nodes}"
        raise UserError(cause, place=f"cluster.nodes = {asked}", fix=fix)


def make_private(recipe: Recipe) -> None:
    """Make the files that this process and its ranks create readable by their owner only, if the recipe says so."""
    if recipe.cluster.private:
        os.umask(0o077)


def check_vocabulary_file(recipe: Recipe) -> None:
    """Raise `UserError` if `data.vocabulary.file` does not exist."""
    file = recipe.data.vocabulary.file
    if file and not Path(file).is_file():
        fix = "give its present path; or `data.vocabulary.file=`, if the data set is prepared, since it has a copy"
        raise UserError("no such vocabulary", place=f"data.vocabulary.file = {file}", fix=fix)
