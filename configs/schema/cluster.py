"""`[cluster]`: nodes, ranks, devices, and what a scheduler is asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from configs.schema.section import Section

# What may end in a script or an argv of a scheduler.
OneLine = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,-]*$")]
SlurmExpression = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(\[][A-Za-z0-9_.,:&|*()\[\]-]*$")]
SlurmOption = Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*(=[^\x00-\x1f\x7f]*)?$")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

# Options of sbatch that the script's coming back hangs on.
OWN_SBATCH_OPTIONS = (
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


class ClusterConfig(Section):
    """Where a run's ranks live, and what a scheduler is asked for."""

    nodes: int = Field(1, ge=1, le=100_000, description="Nodes of the job.")
    ranks_per_node: int = Field(0, ge=0, description="Ranks a node; 0: one a GPU, or one on a machine without GPUs.")
    gpus_per_node: int = Field(0, ge=0, le=1024, description="GPUs a node to ask Slurm for; this machine's are found.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is a GPU.")
    cpu_threads: int = Field(
        0, ge=0, description="Threads a rank, and cores to ask Slurm for; 0: this machine's, divided among its ranks."
    )
    collective_timeout_s: int = Field(
        600, ge=5, description="Seconds a collective may wait for another rank, and a rank may make no headway."
    )
    partition: SlurmName | None = Field(None, description="Slurm: partition, or several with commas.")
    account: SlurmName | None = Field(None, description="Slurm: account to charge.")
    qos: SlurmName | None = Field(None, description="Slurm: quality of service.")
    constraint: SlurmExpression | None = Field(None, description="Slurm: features that nodes need, e.g. h100&ib.")
    exclude: SlurmExpression | None = Field(None, description="Slurm: nodes to leave out, e.g. gpu[07,12].")
    time_limit_min: int = Field(1440, ge=1, description="Slurm: minutes a start may take; the job requeues itself.")
    stop_before_limit_s: int = Field(
        300, ge=30, description="Slurm: seconds before the limit at which ranks save and stop; Slurm may be 60 early."
    )
    memory_gib: int = Field(0, ge=0, description="Slurm: memory a node; 0: what the partition gives.")
    max_restarts: int = Field(
        3, ge=0, description="Restarts in a row that may bring no new checkpoint, before the job gives up."
    )
    sbatch_options: list[SlurmOption] = Field(
        [], description="Slurm: more #SBATCH options, each --name or --name=value."
    )
    srun_options: list[SlurmOption] = Field(
        [], description="Slurm: more options of srun, e.g. --container-image=bert.sqsh for pyxis."
    )
    setup: list[OneLine] = Field(
        [], description="Shell lines that the job's script runs before the ranks, e.g. module load cuda."
    )
    container: list[OneLine] = Field(
        [], description='Command that starts a rank in a container, e.g. ["apptainer", "exec", "--nv", "bert.sif"].'
    )
    hosts: list[HostName] = Field(
        [], description="MPI: nodes by name; empty: those of the allocation that mpirun finds, or this machine."
    )
    python: OneLine | None = Field(None, description="Python on the nodes; unset: the one that submits.")
    environment: list[VariableName] = Field(
        [], description="Variables of the submitting shell that a job may see, beside PATH, HOME, LANG and the like."
    )
    private: bool = Field(True, description="A job's files are for their owner alone (umask 077).")

    @model_validator(mode="after")
    def _limit_leaves_time(self) -> ClusterConfig:
        if self.stop_before_limit_s >= 60 * self.time_limit_min:
            raise ValueError(
                f"cluster.stop_before_limit_s {self.stop_before_limit_s} is not below cluster.time_limit_min, "
                f"which is {60 * self.time_limit_min} s; lower the former"
            )
        return self

    @field_validator("sbatch_options")
    @classmethod
    def _options_are_not_ours(cls, options: list[str]) -> list[str]:
        for option in options:
            name = option.removeprefix("--").partition("=")[0]
            if any(ours.startswith(name) for ours in OWN_SBATCH_OPTIONS):  # Slurm takes any unambiguous beginning
                raise ValueError(f"--{name} is set by bertrain itself; remove it")
        return options
