"""Printed commands that the walk does not run: those that another script runs, and those that nothing here can run."""

from __future__ import annotations

# Run by these scripts, which continuous integration or this suite runs. The value is a line of the file.
RUN_BY = {
    "bash launch/demo/demo.sh": (".ci/run", "bash launch/demo/demo.sh"),
    "bash tests/run.sh": (".ci/run", "bash tests/run.sh"),
    "bertrain train demo": ("tests/walk/world.py", '"bertrain train demo"'),
    "bash tests/run.sh --all": (".ci/run", "bash tests/run.sh --all"),
    """bash -c '. launch/environment.sh && make_environment "$PWD/.venv" dev'""": ("tests/run.sh", "make_environment"),
    ".venv/bin/ruff check . && .venv/bin/ruff format --check .": ("tests/run.sh", "ruff format --check ."),
    ".venv/bin/mypy": ("tests/run.sh", 'python" -m mypy'),
    ".venv/bin/lint-imports": ("tests/run.sh", "lint-imports"),
    "OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q tests/preprocessing/rows": ("tests/run.sh", "-m pytest"),
}

# The marks: at most 15, each with one of the reasons that count.
NETWORK, ENGINE, SCHEDULER = "a network beyond the package registry", "an engine", "a scheduler"
MARKS = {
    "bertrain prepare mine.toml --runner FlinkRunner -- --flink_master=host:8081": (ENGINE, "a Flink cluster"),
    "bertrain train mine.toml --nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500": (NETWORK, "a second machine"),
    "bertrain finetune bert-base-uncased/ glue_tasks -o glue finetune.seeds=5": (NETWORK, "GLUE's files"),
    "bertrain submit mine.toml cluster.nodes=4 --prepare --shares 16 --then phase2.toml --export my-bert": (
        SCHEDULER, "four nodes; tests/distributed/test_slurm_training.py runs such a chain on two"),
    "bertrain submit mine.toml --prepare --shares 16 --then phase2.toml --export my-bert": (
        SCHEDULER, "as above"),
    "bertrain submit mine.toml --sweep optimizer.learning_rate=1e-4,3e-4,1e-3": (
        SCHEDULER, "tests/distributed/test_slurm_training.py runs a sweep"),
    "dask scheduler --scheduler-file scheduler.json": (ENGINE, "tests/preprocessing/execution/engines runs a cluster"),
    "dask worker --scheduler-file scheduler.json --nthreads 1 --nworkers -1": (ENGINE, "as above"),
    "bertrain prepare mine.toml --runner apache_beam.runners.dask.dask_runner.DaskRunner -- "
    "--dask_scheduler_file=scheduler.json": (ENGINE, "as above"),
    "bertrain prepare mine.toml --runner DataflowRunner -- --project=P --region=R --temp_location=gs://B/tmp "
    "--sdk_container_image=IMAGE": (ENGINE, "Dataflow"),
    "docker build -f launch/container/Dockerfile -t bertrain .": (ENGINE, "Docker"),
    "apptainer build bertrain.sif launch/container/bertrain.def": (ENGINE, "Apptainer"),
    "bertrain doctor mine.toml --to slurm": (SCHEDULER, "tests/distributed/test_slurm.py runs it"),
}  # fmt: skip
