# The door of preprocessing.resuming: what other packages and rooms import from it.

from .finished import (
    find_finished as find_finished,
    find_vocabulary as find_vocabulary,
    keep_vocabulary as keep_vocabulary,
)
from .folder import (
    begin as begin,
    claimed as claimed,
    discard as discard,
    kept_if_refused as kept_if_refused,
    prune as prune,
    release as release,
    run_folder as run_folder,
)
from .growth import item_numbers as item_numbers
from .identity import Identity as Identity
from .inputs import read_contents as read_contents
from .parts import (
    GROUPS as GROUPS,
    WORK as WORK,
    described as described,
    finished_parts as finished_parts,
    new_parts as new_parts,
)
from .share import WHOLE as WHOLE, Share as Share
