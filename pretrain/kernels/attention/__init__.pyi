# The door of pretrain.kernels.attention: what other packages and rooms import from it.

from .full import (
    RowLayout as RowLayout,
    attend as attend,
    attend_flash as attend_flash,
    attend_plain as attend_plain,
    fits_flash as fits_flash,
)
from .local import (
    attend_in_blocks as attend_in_blocks,
    attend_in_window as attend_in_window,
    attend_locally as attend_locally,
)
from .rotary import Rotation as Rotation, rotate as rotate, rotation_of as rotation_of
