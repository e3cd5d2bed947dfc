# The door of launch.ranks: what other packages and rooms import from it.

from .child import dies_with as dies_with
from .local import (
    become_rank as become_rank,
    flight_recorder as flight_recorder,
    nodes_at as nodes_at,
    plan_ranks as plan_ranks,
    rank_argv as rank_argv,
    run_ranks as run_ranks,
    this_machine as this_machine,
    train_here as train_here,
)
from .rank_address import (
    ASK_NO_DISPLAY as ASK_NO_DISPLAY,
    RankAddress as RankAddress,
    can_connect as can_connect,
    first_free_port as first_free_port,
    interface_towards as interface_towards,
    mpi_address as mpi_address,
    own_addresses as own_addresses,
    slurm_address as slurm_address,
)
from .rank_log import TRACEBACK as TRACEBACK, Screen as Screen, last_words as last_words
from .run_folder import (
    find_run as find_run,
    open_run as open_run,
    process_training_in as process_training_in,
    run_folder_of as run_folder_of,
)
from .signals import note_signals as note_signals
from .supervisor import (
    RankCommand as RankCommand,
    Supervisor as Supervisor,
)
