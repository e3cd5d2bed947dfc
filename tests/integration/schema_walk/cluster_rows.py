"""The keys of `[cluster]`, and a run's name and folder: what each one changes in scripts and commands."""

from __future__ import annotations

from typing import Any

from tests.integration.schema_walk.observing import Seen
from tests.integration.schema_walk.row import Row


def adds(*lines: str) -> Any:
    """Return whether these lines are in the scripts, and were not."""
    return lambda a, b: all(line in b["script"].split("\n") and line not in a["script"].split("\n") for line in lines)


def adds_text(text: str) -> Any:
    return lambda a, b: text in b["script"] and text not in a["script"]


def local(seen: Seen) -> list[dict[str, Any]]:
    commands: list[dict[str, Any]] = seen["ranks"]["local"]
    return commands


def mpi(seen: Seen) -> str:
    return " ".join(seen["ranks"]["mpi"])


BOTH = {"script", "ranks"}
ROWS = [
    Row("name", "other", {"place", *BOTH}, adds("#SBATCH --job-name=other")),
    Row("license", "apache-2.0", {"license"}, lambda a, b: (a["license"], b["license"]) == ("unknown", "apache-2.0")),
    Row("runs", "elsewhere", {"place", *BOTH}, adds("run=/home/you/elsewhere/walk")),
    Row("cluster.nodes", 3, BOTH, lambda a, b: "#SBATCH --nodes=3" in b["script"] and "-np 3" in mpi(b)),
    Row("cluster.spare_nodes", 2, {"script"}, adds("#SBATCH --nodes=3")),
    Row(
        "cluster.ranks_per_node",
        2,
        BOTH,
        lambda a, b: "#SBATCH --ntasks-per-node=2" in b["script"] and "-np 2" in mpi(b) and len(local(b)) == 2,
    ),
    Row(
        "cluster.gpus_per_node",
        4,
        BOTH,
        lambda a, b: "#SBATCH --gpus-per-node=4\n" in b["script"] and "-np 4" in mpi(b),
        {"cluster.device": "auto"},
    ),
    Row("cluster.device", "cuda", {"ranks"}, lambda a, b: len(local(a)) == 1 and len(local(b)) == 2),
    Row(
        "cluster.cpu_threads",
        3,
        BOTH,
        lambda a, b: "#SBATCH --cpus-per-task=3" in b["script"] and local(b)[0]["env"]["OMP_NUM_THREADS"] == "3",
    ),
    Row("cluster.collective_timeout_s", 99, {"ranks"}, lambda a, b: local(b)[0]["patience_s"] == 99),
    Row("cluster.step_timeout_s", 77, {"limits"}, lambda a, b: b["limits"] == 77),
    Row("cluster.partition", "gpu", {"script"}, adds("#SBATCH --partition=gpu")),
    Row("cluster.account", "nlp@v100", {"script"}, adds("#SBATCH --account=nlp@v100")),
    Row("cluster.qos", "high", {"script"}, adds("#SBATCH --qos=high")),
    Row("cluster.constraint", "h100", {"script"}, adds("#SBATCH --constraint=h100")),
    Row(
        "cluster.exclude", "n3", {"script"}, adds("#SBATCH --exclude=n3", "    local state avoided excluded=n3 without")
    ),
    Row("cluster.time_limit_min", 90, {"script"}, adds("#SBATCH --time=90")),
    Row("cluster.stop_before_limit_s", 120, {"script"}, adds("#SBATCH --signal=B:USR1@120")),
    Row("cluster.memory_gib", 64, {"script"}, adds("#SBATCH --mem=64G")),
    Row("cluster.max_restarts", 7, {"script"}, adds('    [ "$restarts" -lt 7 ] && again=true')),
    Row("cluster.sbatch_options", ["--comment=x"], {"script"}, adds("#SBATCH --comment=x")),
    Row("cluster.srun_options", ["--label"], {"script"}, adds_text("srun --export=ALL --kill-on-bad-exit=1 --label ")),
    Row(
        "cluster.setup",
        ["module load cuda"],
        BOTH,
        lambda a, b: adds("module load cuda")(a, b) and "\nmodule load cuda\n" in mpi(b),
    ),
    Row(
        "cluster.container",
        ["apptainer", "exec", "b.sif"],
        BOTH,
        lambda a, b: "python=(apptainer exec b.sif " in b["script"] and " apptainer exec b.sif " in mpi(b),
    ),
    Row("cluster.hosts", ["n1"], {"ranks"}, lambda a, b: "--host n1:1" in mpi(b)),
    Row(
        "cluster.python",
        "/opt/python",
        BOTH,
        lambda a, b: "python=(/opt/python " in b["script"] and "/opt/python" in mpi(b),
    ),
    Row("cluster.environment", ["HF_HOME"], BOTH, lambda a, b: ",HF_HOME" in b["script"] and "-x HF_HOME" in mpi(b)),
    Row("cluster.private", False, {"script"}, lambda a, b: "umask 077" in a["script"] and "umask" not in b["script"]),
]
