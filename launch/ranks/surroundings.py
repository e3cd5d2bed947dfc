"""What has started this command beside a user: torchrun or srun (a rank), or a scheduler of machines (a node).

- torchrun, or another launcher that sets LOCAL_RANK: this process becomes that rank.
- `srun -n 8 bertrain train`: this task becomes a rank. With one task on each of several nodes, it starts the ranks of
  its node.
- Kubeflow's PyTorchJob and others that set RANK and WORLD_SIZE alone: they count machines, and this one starts its
  ranks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from configs.errors import UserError
from launch.ranks.local import ALONE, Nodes, nodes_at
from launch.ranks.rank_address import LOOPBACK, RankAddress, expand_counts, slurm_address

FIRST_PORT, PORTS = 20_000, 10_000  # of srun's tasks, below the ports that the kernel gives to clients


def is_rank(env: Mapping[str, str]) -> bool:
    """Return whether torchrun, or a launcher like it, has started this process as a rank."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= env.keys()


def task_of_srun(env: Mapping[str, str]) -> RankAddress | None:
    """Return the rank that this task of srun is; None if there is one task, or one on each node."""
    per_node = _tasks_per_node(env)
    return slurm_address({**env, **_meeting_of_srun(env)}) if max(per_node) > 1 else None


def surrounding_nodes(env: Mapping[str, str]) -> Nodes:
    """Return the machines that a scheduler has started this command on, one process each; `ALONE` without one.

    Raises `UserError` if its variables are incomplete.
    """
    count = len(_tasks_per_node(env))
    if count > 1:
        meeting = _meeting_of_srun(env)
        return nodes_at(_place(meeting), count, int(env["SLURM_NODEID"]))
    if is_rank(env) or not {"RANK", "WORLD_SIZE"} <= env.keys():
        return ALONE
    try:
        number, count = (int(env.get(f"PET_{name}", env[other])) for name, other in _COUNTS)
    except ValueError as error:
        raise _incomplete(str(error)) from error
    if count == 1:
        return ALONE
    if missing := {"MASTER_ADDR", "MASTER_PORT"} - env.keys():
        raise _incomplete(f"{', '.join(sorted(missing))} not set")
    return nodes_at(_place(env), count, number)


_COUNTS = (("NODE_RANK", "RANK"), ("NNODES", "WORLD_SIZE"))


def _tasks_per_node(env: Mapping[str, str]) -> list[int]:
    """Return the tasks of this step of srun on each of its nodes; [1] outside."""
    try:
        return expand_counts(env["SLURM_STEP_TASKS_PER_NODE"]) if "SLURM_STEP_NUM_TASKS" in env else [1]
    except (KeyError, ValueError):
        return [1]


def _meeting_of_srun(env: Mapping[str, str]) -> dict[str, str]:
    """Return the rendezvous of a step's tasks: the user's, or the first node, and a port of the step."""
    number = 1_000 * int(env.get("SLURM_JOB_ID", "0")) + int(env.get("SLURM_STEP_ID", "0"))
    first = re.sub(r"\[([^],-]+)[^]]*\]", r"\1", env.get("SLURM_STEP_NODELIST", "")).partition(",")[0]
    is_spread = len(_tasks_per_node(env)) > 1
    found = {"MASTER_ADDR": first if is_spread and first else LOOPBACK, "MASTER_PORT": str(FIRST_PORT + number % PORTS)}
    return found | {name: env[name] for name in found if name in env}


def _place(env: Mapping[str, str]) -> str:
    host = env["MASTER_ADDR"]
    return f"[{host}]:{env['MASTER_PORT']}" if ":" in host else f"{host}:{env['MASTER_PORT']}"


def _incomplete(cause: str) -> UserError:
    fix = "unset RANK and WORLD_SIZE to train on this machine alone, or set all four as for torch.distributed"
    return UserError(cause, place="RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT", fix=fix)
