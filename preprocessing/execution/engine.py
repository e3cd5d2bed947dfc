"""What runs a pipeline: this machine, or whatever Apache Beam has a runner for.

Work items are coarse and nothing but their names passes through Beam, so any runner does: all that its workers need is
this package, and the input and the data set's folder under the same names as here.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import io
import os
import shlex
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.execution.beam_api import FnApiRunner, PipelineOptions, SubprocessSDKEnvironment, beam

WORKER_MODULE = "preprocessing.execution.worker"
_DASK_PARTITION = "--dask_partition_size=1"  # Beam's 128 would leave most workers without one of our items


@dataclass(frozen=True)
class BeamEngine:
    """A runner, by the name that Beam has for it or the full path of its class, and Beam's options for it."""

    runner: str = ""  # none: worker processes of our own, on this machine
    options: tuple[str, ...] = ()  # as on a command line: "--job_endpoint=localhost:8099"

    def pipeline(self, workers: int) -> beam.Pipeline:
        """An empty pipeline; `workers` says how many processes, where they are our own.

        Raises `UserError` for a runner that there is not, and for options that it does not take.
        """
        if not self.runner:
            return _on_this_machine(workers, self.options)
        flags = [*self.options]
        if self.runner.endswith("DaskRunner") and not any(flag.startswith("--dask_npart") for flag in flags):
            flags.insert(0, _DASK_PARTITION)
        complaint = io.StringIO()
        try:
            with redirect_stderr(complaint):
                pipeline = beam.Pipeline(self.runner, PipelineOptions(flags))
                pipeline.options.get_all_options()  # else it reads them at some later time, and ends the process
                return pipeline
        except (ValueError, ImportError, AttributeError) as error:
            fix = "give a name that Beam knows or the full path of a runner's class, and install what it needs"
            raise UserError(f"no such runner, or not with these options: {error}", place="--runner", fix=fix) from error
        except SystemExit as error:  # of Beam's argument parser
            cause = complaint.getvalue().strip().rsplit("\n", 1)[-1]
            raise UserError(
                cause, place="the runner's options", fix="see Beam's documentation of the runner"
            ) from error


THIS_MACHINE = BeamEngine()


def _on_this_machine(workers: int, options: tuple[str, ...]) -> beam.Pipeline:
    if options:
        fix = "name a runner with --runner, or leave them out; data.workers says how many processes"
        raise UserError("options for a runner, but no runner", place=options[0], fix=fix)
    environment = None
    if workers > 1:
        # Beam hands this line to a shell; `exec` leaves no shell between the worker and its driver.
        command = shlex.join([sys.executable, "-P", "-m", WORKER_MODULE, str(os.getpid())])
        environment = SubprocessSDKEnvironment.from_command_string(f"exec {command}")
    settings = PipelineOptions(
        [], direct_num_workers=workers, default_sdk_harness_log_level="CRITICAL", save_main_session=False
    )
    return beam.Pipeline(FnApiRunner(default_environment=environment), settings)
