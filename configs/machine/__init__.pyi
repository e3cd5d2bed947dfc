# The door of configs.machine: what other packages and rooms import from it.

from .child_process import (
    die_with as die_with,
    dies_with as dies_with,
    terminate_with_parent as terminate_with_parent,
)
from .folders import make_private as make_private, private_folder as private_folder
from .granted import (
    threads_of_rank as threads_of_rank,
    usable_cores as usable_cores,
    usable_memory_bytes as usable_memory_bytes,
)
from .interrupts import (
    ctrl_c_ends_silently as ctrl_c_ends_silently,
    end_at_once as end_at_once,
    interrupting as interrupting,
)
from .locks import EXCLUSIVE as EXCLUSIVE, SHARED as SHARED, lock as lock
from .packages import (
    EXTRAS as EXTRAS,
    install_command as install_command,
    install_extra as install_extra,
    install_packages as install_packages,
    missing_packages_explained as missing_packages_explained,
    require_package as require_package,
)
from .streams import never_fail_to_encode as never_fail_to_encode, never_fail_to_write as never_fail_to_write
