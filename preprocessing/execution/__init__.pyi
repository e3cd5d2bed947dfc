# The door of preprocessing.execution: the names that other packages and rooms import.

from .corpus_checks import check_manifest as check_manifest, refuse_few_documents as refuse_few_documents
from .engine import THIS_MACHINE as THIS_MACHINE, BeamEngine as BeamEngine
from .finished import (
    find_finished as find_finished,
    find_vocabulary as find_vocabulary,
    keep_vocabulary as keep_vocabulary,
)
from .folder import (
    WORK as WORK,
    claimed as claimed,
    discard as discard,
    finished_parts as finished_parts,
    release as release,
)
from .identity import Identity as Identity
from .manifest_assembly import GroupSums as GroupSums, build_manifest as build_manifest, sum_groups as sum_groups
from .share import WHOLE as WHOLE, Share as Share
from .stages import ReportProgress as ReportProgress, Stages as Stages
from .steps import WriteGroups as WriteGroups
