# The door of preprocessing.execution: the names that other packages and rooms import.

from .comparing import compare as compare
from .corpus_checks import check_manifest as check_manifest, refuse_few_documents as refuse_few_documents
from .engines import (
    THIS_MACHINE as THIS_MACHINE,
    BeamEngine as BeamEngine,
    WorkerKilledError as WorkerKilledError,
)
from .expectation import (
    expect as expect,
    refuse_small_disk as refuse_small_disk,
    warn_of_large_items as warn_of_large_items,
)
from .stages import ReportProgress as ReportProgress, Stages as Stages, worker_count as worker_count
from .steps import WriteGroups as WriteGroups
