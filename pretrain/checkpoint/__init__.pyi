# The door of pretrain.checkpoint: what other packages and rooms import from it.

from .checkpoints import (
    find_checkpoint as find_checkpoint,
    has_checkpoint as has_checkpoint,
    load_checkpoint as load_checkpoint,
    load_weights as load_weights,
    read_state as read_state,
    save_checkpoint as save_checkpoint,
)
from .history import set_aside as set_aside
from .state import TrainingState as TrainingState
