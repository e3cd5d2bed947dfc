"""Runs over ssh: each node of `cluster.hosts` is logged in to once a rank, and all ranks meet at the first host.

The nodes share the run's folder and the installation, and are like this machine.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from configs.errors import UserError
from configs.schema import Recipe
from launch.ranks import RankCommand, nodes_at, open_run, plan_ranks, run_ranks, this_machine

PORT = 29_500  # unless MASTER_PORT says otherwise


def ssh_commands(recipe: Recipe, run: Path) -> list[RankCommand]:
    """One `ssh HOST COMMAND` a rank. `UserError` where the recipe names no hosts."""
    hosts = recipe.cluster.hosts
    if not hosts:
        raise UserError("no host to log in to", place="cluster.hosts", fix="list the nodes there")
    port = os.environ.get("MASTER_PORT", PORT)
    commands = []
    for number, host in enumerate(hosts):
        nodes = replace(nodes_at(f"{hosts[0]}:{port}", len(hosts), number), interface="")
        for rank in plan_ranks(recipe, run, ["--resume", "auto"], this_machine(), nodes=nodes):
            variables = [f"{name}={value}" for name, value in rank.env.items()]
            command = shlex.join(["env", "-C", str(Path.cwd()), *variables, *rank.argv])
            # -tt: the rank ends when the connection does, and a stop signal's Ctrl-C reaches it.
            commands.append(replace(rank, argv=("ssh", "-tt", host, command)))
    return commands


def ssh_argvs(recipe: Recipe, run: Path) -> Iterable[Sequence[str]]:
    """What starts the ranks, as argv."""
    return [command.argv for command in ssh_commands(recipe, run)]


def train_over_ssh(recipe: Recipe) -> int:
    """Train to the end; returns the exit code of `bertrain train`."""
    with open_run(recipe) as run:
        return run_ranks(ssh_commands(recipe, run.absolute()))
