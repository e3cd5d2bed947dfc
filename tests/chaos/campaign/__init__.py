"""The families of the campaign of faults: one place where a run or a preparation can fail, each with its kinds."""

from __future__ import annotations

from tests.chaos.campaign.family import Family
from tests.chaos.campaign.local import Local
from tests.chaos.campaign.mpi import Mpi
from tests.chaos.campaign.preparation import Preparation
from tests.chaos.campaign.slurm import Slurm
from tests.chaos.campaign.staging import Staging
from tests.chaos.campaign.torchrun import Torchrun

FAMILIES: dict[str, type[Family]] = {
    "local": Local,
    "staging": Staging,
    "mpi": Mpi,
    "preparation": Preparation,
    "slurm": Slurm,
    "torchrun": Torchrun,
}
