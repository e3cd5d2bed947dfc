"""Where a pipeline runs: on this machine, or on any Apache Beam runner.

Work items are coarse and only their names pass through Beam, so every runner is suitable. Its workers need this
package, and must reach the input and the data set's folder under the same names as this machine.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.execution.beam_api import FnApiRunner, PipelineOptions, SubprocessSDKEnvironment, beam

WORKER_MODULE = "preprocessing.execution.worker"
_DASK_PARTITION = "--dask_partition_size=1"  # Beam's default of 128 would leave most workers without an item


@dataclass(frozen=True)
class BeamEngine:
    """A runner, given by its name in Beam or the full path of its class, and its Beam options."""

    runner: str = ""  # empty: our own worker processes on this machine
    options: tuple[str, ...] = ()  # as on a command line: "--job_endpoint=localhost:8099"

    def pipeline(self, workers: int) -> beam.Pipeline:
        """Return an empty pipeline. `workers` is the number of processes on this machine; other runners ignore it.

        Raises `UserError` for an unknown runner and for options that the runner does not accept.
        """
        if not self.runner:
            return _without_folder(_on_this_machine(workers, self.options))
        flags = [*self.options]
        if self.runner.endswith("DaskRunner") and not any(flag.startswith("--dask_npart") for flag in flags):
            flags.insert(0, _DASK_PARTITION)
        complaint = io.StringIO()
        try:
            with redirect_stderr(complaint):
                pipeline = beam.Pipeline(self.runner, PipelineOptions(flags))
                pipeline.options.get_all_options()  # otherwise Beam parses them later and exits the process
                return _without_folder(pipeline)
        except (ValueError, ImportError, AttributeError) as error:
            fix = "give the name of a Beam runner or the full path of its class, and install its dependencies"
            raise UserError(f"unknown runner or invalid options: {error}", place="--runner", fix=fix) from error
        except SystemExit as error:  # raised by Beam's argument parser
            cause = complaint.getvalue().strip().rsplit("\n", 1)[-1]
            raise UserError(
                cause, place="the runner's options", fix="see Beam's documentation of the runner"
            ) from error


THIS_MACHINE = BeamEngine()


def _without_folder(pipeline: beam.Pipeline) -> beam.Pipeline:
    """Remove the folder that Beam makes for transforms in other languages: a killed process would leave it behind."""
    shutil.rmtree(pipeline.local_tempdir, ignore_errors=True)
    return pipeline


def _on_this_machine(workers: int, options: tuple[str, ...]) -> beam.Pipeline:
    if options:
        fix = "name a runner with --runner, or omit the options; data.workers sets the number of processes"
        raise UserError("runner options without a runner", place=options[0], fix=fix)
    environment = None
    if workers > 1:
        # Beam passes this line to a shell; `exec` replaces the shell, so the driver is the worker's direct parent.
        command = shlex.join([sys.executable, "-P", "-m", WORKER_MODULE, str(os.getpid())])
        environment = SubprocessSDKEnvironment.from_command_string(f"exec {command}")
    settings = PipelineOptions(
        [], direct_num_workers=workers, default_sdk_harness_log_level="CRITICAL", save_main_session=False
    )
    return beam.Pipeline(FnApiRunner(default_environment=environment), settings)
