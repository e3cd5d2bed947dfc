# The door of pretrain.engine: what other packages and rooms import from it.

from .buffers import (
    BUCKET_ELEMENTS as BUCKET_ELEMENTS,
    KEPT_PARAMETERS as KEPT_PARAMETERS,
    PREFETCHED_PARAMETERS as PREFETCHED_PARAMETERS,
)
from .devices import pci_address as pci_address
from .distributed import (
    World as World,
    any_flag_and_first_values as any_flag_and_first_values,
    gather as gather,
    is_true_on_any_rank as is_true_on_any_rank,
    join_process_group as join_process_group,
    leave_process_group as leave_process_group,
    rank_and_size as rank_and_size,
    seed_everything as seed_everything,
    seed_for as seed_for,
)
from .engine import Engine as Engine, StepResult as StepResult
from .losses import LossMeans as LossMeans, LossSums as LossSums
from .optimizers import make_adamw as make_adamw, parameter_groups as parameter_groups
from .partition import KINDS as KINDS, Fragment as Fragment
from .schedule import (
    batch_sizes as batch_sizes,
    early_end_warning as early_end_warning,
    is_over as is_over,
    last_step_at as last_step_at,
    learning_rate_at as learning_rate_at,
    learning_rate_jump as learning_rate_jump,
    rows_of_all_steps as rows_of_all_steps,
    steps_of_rows as steps_of_rows,
)
from .spikes import RunningLoss as RunningLoss
from .watchdog import (
    beat as beat,
    show_stacks_when_asked as show_stacks_when_asked,
    watch as watch,
)
