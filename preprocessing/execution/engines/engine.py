"""Where a pipeline runs: on this machine, or on any Apache Beam runner.

Work items are coarse and only their names pass through Beam, so every runner is suitable. Its workers need this
package, and must reach the input and the data set's folder under the same names as this machine.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.execution.engines.beam_api import (
    FnApiRunner,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SubprocessSDKEnvironment,
    beam,
)

WORKER_MODULE = "preprocessing.execution.engines.worker"
_POOL_MODULE = "preprocessing.execution.engines.worker_pool"
_DASK_PARTITION = "--dask_partition_size=1"  # Beam's default of 128 would leave most workers without an item


@dataclass(frozen=True)
class BeamEngine:
    """A runner, given by its name in Beam or the full path of its class, and its Beam options."""

    runner: str = ""  # empty: our own worker processes on this machine
    options: tuple[str, ...] = ()  # as on a command line: "--job_endpoint=localhost:8099"

    @property
    def pool_address(self) -> str:
        """The address of the worker pool that the engine asks for workers, such as "localhost:50000", or ""."""
        options = PipelineOptions([*self.options]).view_as(PortableOptions)
        is_external = self.runner and options.environment_type == "EXTERNAL"
        return str(options.environment_config or "") if is_external else ""

    @property
    def pool_command(self) -> str:
        """The command that starts a worker pool on a node, if the engine uses one. It names this very Python."""
        port = re.search(r":(\d+)", self.pool_address)
        command = [sys.executable, "-P", "-m", _POOL_MODULE, f"--service_port={port[1]}"] if port else ()
        return shlex.join(command)

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
        except (ValueError, ImportError, AttributeError) as error:
            fix = "give the name of a Beam runner or the full path of its class, and install its dependencies"
            raise UserError(f"unknown runner or invalid options: {error}", place="--runner", fix=fix) from error
        except SystemExit as error:  # raised by Beam's argument parser
            cause = complaint.getvalue().strip().rsplit("\n", 1)[-1]
            raise UserError(
                cause, place="the runner's options", fix="see Beam's documentation of the runner"
            ) from error
        _refuse_template(pipeline)
        return _without_folder(pipeline)


THIS_MACHINE = BeamEngine()


def _refuse_template(pipeline: beam.Pipeline) -> None:
    """Raise `UserError` if Dataflow is to keep the job as a template, because what a stage does depends on others."""
    if template := pipeline.options.view_as(GoogleCloudOptions).template_location:
        cause = "a preparation has several jobs, each made from the results of the one before: it cannot be a template"
        raise UserError(cause, place=f"--template_location={template}", fix="omit this option")


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
