"""Apache Beam, imported without its chatter: what the other files use of it stands here.

While it is imported Beam logs a warning through the root logger, which would set up logging for the whole program; and
what it logs of failures we raise as errors of our own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _unheard() -> Iterator[None]:
    """What is logged through the root logger reaches nobody inside the block, and sets nothing up."""
    silence = logging.NullHandler()
    logging.root.addHandler(silence)
    logging.root.addFilter(_refuse)
    try:
        yield
    finally:
        logging.root.removeFilter(_refuse)
        logging.root.removeHandler(silence)


def _refuse(_record: logging.LogRecord) -> bool:
    return False


with _unheard():
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.runners.runner import PipelineResult
    from apache_beam.runners.worker import sdk_worker_main
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

logging.getLogger("apache_beam").setLevel(logging.CRITICAL)

__all__ = [
    "FnApiRunner",
    "PipelineOptions",
    "PipelineResult",
    "SubprocessSDKEnvironment",
    "beam",
    "sdk_worker_main",
]
