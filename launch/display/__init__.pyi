# The door of launch.display: what other packages and rooms import from it.

from .curves import draw_runs as draw_runs
from .dry_run import run_smoke as run_smoke, show_dry_run as show_dry_run
from .inspection import (
    decoded_pairs as decoded_pairs,
    pair_legend as pair_legend,
    run_verify as run_verify,
    totals_table as totals_table,
)
from .live import training_screen as training_screen
from .logs import show_log as show_log
from .outcome import show_outcome as show_outcome
from .planning import find_hardware as find_hardware, show_plan as show_plan, vocabulary_size as vocabulary_size
from .plot import draw_loss as draw_loss
from .preparation import prepare_with_progress as prepare_with_progress
from .settings import (
    check_environment as check_environment,
    check_gpus as check_gpus,
    check_nodes as check_nodes,
    check_ranks as check_ranks,
    make_private as make_private,
    private_files as private_files,
    settle as settle,
    settle_chain as settle_chain,
    warn_of_settings as warn_of_settings,
)
from .status import show_status as show_status
from .tensorboard import serve_tensorboard as serve_tensorboard
