# The door of launch.cluster: what other packages and rooms import from it.

from .batch_script import (
    BEGIN as BEGIN,
    EXPORT as EXPORT,
    PREPARE as PREPARE,
    TRAIN as TRAIN,
    exported_variables as exported_variables,
    network_variables as network_variables,
    python_argv as python_argv,
    resource_options as resource_options,
)
from .launchers import (
    SLURM as SLURM,
    TARGETS as TARGETS,
    describe_launch as describe_launch,
    find_launcher as find_launcher,
)
from .mpi import INSTALL_MPI as INSTALL_MPI, meet_under_mpi as meet_under_mpi
from .slurm import QueuedJob as QueuedJob, jobs_of as jobs_of, queued_jobs as queued_jobs
from .stopping import stop_run as stop_run
from .submission import (
    Link as Link,
    describe_chain as describe_chain,
    plan_chain as plan_chain,
    plan_sweep as plan_sweep,
    submit_chain as submit_chain,
)
from .sweep import swept_settings as swept_settings
