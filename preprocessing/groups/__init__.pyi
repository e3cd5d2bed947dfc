# The door of preprocessing.groups: the names that other packages and rooms import.

from .finished_items import (
    FinishedGroups as FinishedGroups,
    find_finished_groups as find_finished_groups,
)
from .group import (
    GroupWriter as GroupWriter,
    finished_groups as finished_groups,
    group_name as group_name,
    read_intact_head as read_intact_head,
)
from .group_keys import GroupKeys as GroupKeys
from .manifest_assembly import GroupSums as GroupSums, build_manifest as build_manifest, sum_groups as sum_groups
