# The door of launch.ranks: what other packages and rooms import from it.

from .heartbeat import (
    beating as beating,
    heartbeats as heartbeats,
    pause_s as pause_s,
    silences_s as silences_s,
)
from .local import (
    become_rank as become_rank,
    nodes_at as nodes_at,
    plan_ranks as plan_ranks,
    rank_argv as rank_argv,
    run_ranks as run_ranks,
    this_machine as this_machine,
    torch_variables as torch_variables,
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
from .rank_log import (
    TERMINAL as TERMINAL,
    TRACEBACK as TRACEBACK,
    Screen as Screen,
    last_words as last_words,
)
from .run_folder import (
    begin_run as begin_run,
    check_is_run as check_is_run,
    find_run as find_run,
    has_locks as has_locks,
    hold_lock as hold_lock,
    open_run as open_run,
    process_training_in as process_training_in,
    run_folder_of as run_folder_of,
)
from .signals import note_signals as note_signals
from .starts import (
    RankEnd as RankEnd,
    Start as Start,
    Verdict as Verdict,
    begin_start as begin_start,
    count_ends as count_ends,
    is_stop_requested as is_stop_requested,
    newest_step as newest_step,
    node_of as node_of,
    ranks_begun as ranks_begun,
    read_ends as read_ends,
    read_starts as read_starts,
    read_verdict as read_verdict,
    record_begin as record_begin,
    record_end as record_end,
    record_verdict as record_verdict,
    request_stop as request_stop,
    this_process as this_process,
)
from .supervisor import (
    RankCommand as RankCommand,
    Supervisor as Supervisor,
)
from .surroundings import (
    is_rank as is_rank,
    surrounding_nodes as surrounding_nodes,
    task_of_srun as task_of_srun,
)
