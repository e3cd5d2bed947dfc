# The door of preprocessing.execution.engines: what preprocessing.execution imports from it.

from .beam_api import beam as beam
from .engine import THIS_MACHINE as THIS_MACHINE, BeamEngine as BeamEngine
from .reports import reported as reported
from .runner import (
    WorkerKilledError as WorkerKilledError,
    run_pipeline as run_pipeline,
    worker_processes as worker_processes,
)
from .same_folder import folder_mark as folder_mark, require_mark as require_mark
