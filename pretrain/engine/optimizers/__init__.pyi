# The door of pretrain.engine.optimizers: what the engine's other files import from it.

from .adamw import make_adamw as make_adamw
from .groups import MOMENTS as MOMENTS, ensure_moments as ensure_moments, parameter_groups as parameter_groups
from .kind import FlatSlice as FlatSlice, OnePassOptimizer as OnePassOptimizer, OptimizerKind as OptimizerKind
from .table import OPTIMIZERS as OPTIMIZERS
