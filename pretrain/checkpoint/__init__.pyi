# The door of pretrain.checkpoint: what other packages and rooms import from it.

from .cadence import (
    Cadence as Cadence,
    Goodput as Goodput,
    best_interval_s as best_interval_s,
    mtbf_s as mtbf_s,
    predicted_goodput as predicted_goodput,
)
from .finding import (
    find_checkpoint as find_checkpoint,
    has_checkpoint as has_checkpoint,
    recorded_recipe as recorded_recipe,
)
from .history import set_aside as set_aside, set_aside_after as set_aside_after, take_records as take_records
from .loading import load_checkpoint as load_checkpoint, load_weights as load_weights
from .ownership import (
    Ownership as Ownership,
    Superseded as Superseded,
    claim_start as claim_start,
    newest_start as newest_start,
)
from .saving import (
    Saver as Saver,
    remove_unfinished as remove_unfinished,
    save_checkpoint as save_checkpoint,
)
from .state import (
    TRAINING_FIELDS as TRAINING_FIELDS,
    TrainingState as TrainingState,
    changes_since as changes_since,
    check_model as check_model,
    read_state as read_state,
)
