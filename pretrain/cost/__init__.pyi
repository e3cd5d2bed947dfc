# The door of pretrain.cost: what other packages and rooms import from it.

from .estimate import Cost as Cost, Memory as Memory, StepCost as StepCost
from .hardware import HARDWARE as HARDWARE, Hardware as Hardware
from .host import LAUNCH_US as LAUNCH_US, host_s as host_s
from .preparing import PreparationCost as PreparationCost, preparation as preparation
from .row import MATMUL_SHARE as MATMUL_SHARE
