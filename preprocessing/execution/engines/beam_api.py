"""The names from Apache Beam that the other files use, imported without Beam's log messages.

During its import, Beam logs a warning through the root logger, which would configure logging for the whole program.
Later it logs failures that we raise as our own errors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _root_logger_silenced() -> Iterator[None]:
    """Discard messages to the root logger inside the block, and prevent them from configuring logging."""
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


def _is_not_beams(record: logging.LogRecord) -> bool:
    """Return whether a message to the root logger is from another package: Beam repeats failures and waits there."""
    return f"{os.sep}apache_beam{os.sep}" not in record.pathname


with _root_logger_silenced():
    import apache_beam as beam
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, PortableOptions
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from apache_beam.runners.portability.job_server import SubprocessJobServer
    from apache_beam.runners.portability.portable_runner import PortableRunner
    from apache_beam.runners.portability.spark_runner import JOB_SERVER_CACHE as SPARK_JOB_SERVERS
    from apache_beam.runners.runner import PipelineResult
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
logging.root.addFilter(_is_not_beams)
vars(sdk_worker)["print"] = lambda *_words, **_options: None  # it prints the traceback of every failed bundle

__all__ = [
    "SPARK_JOB_SERVERS",
    "FnApiRunner",
    "GoogleCloudOptions",
    "PipelineOptions",
    "PipelineResult",
    "PortableOptions",
    "PortableRunner",
    "SubprocessJobServer",
    "SubprocessSDKEnvironment",
    "beam",
    "sdk_worker_main",
]
