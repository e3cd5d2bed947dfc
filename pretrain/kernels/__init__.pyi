# The door of pretrain.kernels: what other packages and rooms import from it.

from .adamw_loop import adamw_update as adamw_update
from .attention import Rotation as Rotation, RowLayout as RowLayout, rotation_of as rotation_of
from .dispatch import Backend as Backend, Kernels as Kernels, choose_kernels as choose_kernels
from .dropout import Dropout as Dropout
from .lamb import LambState as LambState, LambStep as LambStep, Segments as Segments, trust_ratio as trust_ratio
from .logits import LOGITS_BYTES as LOGITS_BYTES, block_size as block_size, scored_keys as scored_keys
