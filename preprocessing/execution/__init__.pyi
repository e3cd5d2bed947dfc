# The door of preprocessing.execution: what other packages and rooms import from it.

from .beam_api import beam as beam
from .engine import THIS_MACHINE as THIS_MACHINE, BeamEngine as BeamEngine
from .folder import (
    WORK as WORK,
    check_ownership as check_ownership,
    claimed as claimed,
    discard as discard,
    finished_parts as finished_parts,
    release as release,
    run_folder as run_folder,
)
from .group import GROUPS as GROUPS
from .identity import (
    Identity as Identity,
    damage as damage,
    finished_data_set as finished_data_set,
    withdraw as withdraw,
)
from .manifest_assembly import (
    build_manifest as build_manifest,
    refuse_few_documents as refuse_few_documents,
    unfinished as unfinished,
)
from .runner import run_pipeline as run_pipeline
from .share import WHOLE as WHOLE, Share as Share
from .steps import CleanText as CleanText, SampleText as SampleText, WriteGroups as WriteGroups
