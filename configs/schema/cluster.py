"""`[cluster]`: nodes, ranks, devices, and the resources to request from a scheduler."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from configs.schema.section import Section

# Values that are written into a scheduler's script or argument list.
OneLine = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,@+:/-]*$")]  # e.g. six@v100, nlp/bert
SlurmExpression = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(\[][A-Za-z0-9_.,:&|*()\[\]-]*$")]
SlurmOption = Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*(=[^\x00-\x1f\x7f]*)?$")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

# Options of sbatch and srun that bertrain sets: ranks, names, logs and the requeuing of a job depend on them.
OWN_OPTIONS = (
    "array",
    "chdir",
    "error",
    "exclude",
    "export",
    "export-file",
    "get-user-env",
    "job-name",
    "nodes",
    "no-requeue",
    "ntasks",
    "ntasks-per-node",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "time",
    "wrap",
)

# Options that have keys of their own: a second value would silently replace that of the key.
OPTIONS_OF_KEYS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "mem": "memory_gib",
    "gpus-per-node": "gpus_per_node",
    "cpus-per-task": "cpu_threads",
}


class ClusterConfig(Section):
    """Where a run's ranks are placed, and the resources to request from a scheduler."""

    nodes: int = Field(1, ge=1, le=100_000, description="Number of nodes.")
    spare_nodes: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Slurm: additional nodes of the job that stay idle until one replaces a node on which a rank "
        "failed: training then resumes at once, without a wait in the queue. A job whose node is down is requeued.",
    )
    ranks_per_node: int = Field(
        0,
        ge=0,
        le=1024,
        description="Ranks per node; 0: one per GPU, or one on a machine without GPUs; with torchrun and srun, 0 or "
        "1: as many as they start.",
    )
    gpus_per_node: int = Field(
        0,
        ge=0,
        le=1024,
        description="Slurm and MPI: GPUs per node, to request from Slurm, and for the number of ranks; other launchers "
        "detect the GPUs.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if a GPU is available, else CPU.")
    cpu_threads: int = Field(
        0,
        ge=0,
        le=4096,
        description="Threads per rank, and cores per rank to request from Slurm. 0: OMP_NUM_THREADS where it is set, "
        "else the cores of the machine, or of the smallest node of the Slurm partition, divided by its ranks; a "
        "container's quota counts.",
    )
    collective_timeout_s: int = Field(
        600,
        ge=5,
        le=604_800,
        description="Seconds that a collective may wait for another rank, and that a rank may take without progress at "
        "its start, in a save, or in an evaluation.",
    )
    step_timeout_s: int = Field(
        300,
        ge=1,
        le=604_800,
        description="Seconds that a rank may take without progress in a training step, the wait for its rows included; "
        "the first step of a start has cluster.collective_timeout_s, which also limits this value.",
    )
    partition: SlurmName | None = Field(None, description="Slurm: partition, or several separated by commas.")
    account: SlurmName | None = Field(None, description="Slurm: account to charge.")
    qos: SlurmName | None = Field(None, description="Slurm: quality of service.")
    constraint: SlurmExpression | None = Field(None, description="Slurm: required node features, e.g. h100&ib.")
    exclude: SlurmExpression | None = Field(None, description="Slurm: nodes to exclude, e.g. gpu[07,12].")
    time_limit_min: int = Field(
        1440,
        ge=1,
        le=525_600,
        description="Slurm: time limit of one start in minutes; the job requeues itself when it is reached.",
    )
    stop_before_limit_s: int = Field(
        300,
        ge=30,
        le=86_400,
        description="Slurm: seconds before the time limit at which ranks save and stop; Slurm can signal up to 60 s "
        "early.",
    )
    memory_gib: int = Field(
        0, ge=0, le=1_000_000, description="Slurm: memory per node in GiB; 0: the partition's default."
    )
    max_restarts: int = Field(
        3,
        ge=0,
        le=1_000_000,
        description="Slurm and MPI: consecutive restarts without a new checkpoint before the job gives up.",
    )
    sbatch_options: list[SlurmOption] = Field(
        [], description="Slurm: additional #SBATCH options, each --name or --name=value."
    )
    srun_options: list[SlurmOption] = Field(
        [], description="Slurm: additional srun options, e.g. --container-image=bert.sqsh for pyxis."
    )
    setup: list[OneLine] = Field(
        [],
        description="Slurm and MPI: shell lines to run on a node before Python starts there, e.g. module load cuda; "
        "other launchers refuse it.",
    )
    container: list[OneLine] = Field(
        [],
        description="Slurm and MPI: command that starts Python in a container, e.g. "
        '["apptainer", "exec", "--nv", "bert.sif"]; other launchers refuse it.',
    )
    hosts: list[HostName] = Field(
        [], description="MPI: node names; empty: the nodes of the allocation that mpirun detects, or this machine."
    )
    python: OneLine | None = Field(
        None,
        description="Slurm and MPI: Python interpreter on the nodes; unset: the interpreter that submits the job; "
        "other launchers refuse another one than theirs.",
    )
    environment: list[VariableName] = Field(
        [],
        description="Slurm and MPI: environment variables of the submitting shell to pass to the job, in addition to "
        "PATH, HOME, LANG and similar ones, and those of NCCL and its network libraries (NCCL_*, UCX_*, FI_*); ranks "
        "of other launchers have all.",
    )
    private: bool = Field(True, description="Make the files of a run readable by their owner only (umask 077).")

    @model_validator(mode="after")
    def _limit_leaves_time(self) -> ClusterConfig:
        if self.stop_before_limit_s >= 60 * self.time_limit_min:
            raise ValueError(
                f"cluster.stop_before_limit_s {self.stop_before_limit_s} is not below cluster.time_limit_min, "
                f"which is {60 * self.time_limit_min} s; lower the former"
            )
        return self

    @model_validator(mode="after")
    def _options_do_not_repeat_keys(self) -> ClusterConfig:
        for option in (*self.sbatch_options, *self.srun_options):
            name = option.removeprefix("--").partition("=")[0]
            repeated = [one for one in OPTIONS_OF_KEYS if one.startswith(name)]  # Slurm accepts any unambiguous prefix
            if option in self.sbatch_options and re.match(r"--(gres=gpu|gpus=)", option):
                repeated = ["gpus-per-node"]
            for one in repeated:
                if getattr(self, key := OPTIONS_OF_KEYS[one]):
                    raise ValueError(f"cluster.{key} sets --{one}; remove {option} from the options, or unset the key")
        return self

    @model_validator(mode="after")
    def _hosts_differ(self) -> ClusterConfig:
        twice = next((host for host in self.hosts if self.hosts.count(host) > 1), None)
        if twice:
            raise ValueError(f"cluster.hosts names {twice} twice; raise cluster.ranks_per_node for more ranks there")
        return self

    @field_validator("sbatch_options", "srun_options")
    @classmethod
    def _options_are_not_ours(cls, options: list[str]) -> list[str]:
        for option in options:
            name = option.removeprefix("--").partition("=")[0]
            if any(ours.startswith(name) for ours in OWN_OPTIONS):  # Slurm accepts any unambiguous prefix
                raise ValueError(f"--{name} is set by bertrain; remove it")
        return options
