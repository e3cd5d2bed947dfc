"""Prepare a data set on the nodes of a Slurm cluster that has no Flink or Spark: Dask workers as Slurm jobs.

    pip install "bertrain[slurm-dask]"
    sbatch --time=1-0 --wrap "python dask_on_slurm.py news.toml --jobs 50 --cores 16 --memory 32GB"

Each of the jobs holds one worker process per core. Workers join when Slurm starts their job, also while the preparation
runs; the work items of a job that ends go to the others. The recipe, the corpus and the data set must have the same
names on all nodes. Scheduler and workers talk by TLS, with certificates of this run alone.
"""

# mypy: allow-untyped-calls
# Dask is half typed.

import argparse
import os
import subprocess
import sys

from dask_jobqueue.slurm import SLURMCluster
from distributed import Security

RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"


def main() -> int:
    """Start the workers' jobs, prepare, cancel the jobs, and return the exit code of `bertrain prepare`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="the recipe, then settings such as data.dupe_factor=5", nargs="+")
    parser.add_argument("--jobs", type=int, required=True, help="number of Slurm jobs")
    parser.add_argument("--cores", type=int, default=1, help="cores and worker processes of a job")
    parser.add_argument("--memory", default="2GB", help="memory of a job; 1 GB per worker process is enough")
    parser.add_argument("--walltime", default="12:00:00", help="time limit of a job")
    parser.add_argument("--partition", help="Slurm partition of the jobs")
    parser.add_argument("--interface", help="network interface of the nodes, such as ib0")
    parser.add_argument("--folder", default=".", help="a folder that all nodes see, for certificates and logs")
    chosen = parser.parse_args()
    security = Security.temporary()
    with SLURMCluster(
        queue=chosen.partition,
        cores=chosen.cores,
        processes=chosen.cores,
        memory=chosen.memory,
        walltime=chosen.walltime,
        interface=chosen.interface,
        python=sys.executable,
        protocol="tls://",
        security=security,
        shared_temp_directory=chosen.folder,
        log_directory=os.path.join(chosen.folder, "dask-logs"),
        scheduler_options={"dashboard": False},
    ) as cluster:
        cluster.scale(jobs=chosen.jobs)
        options = [f"--dask_client_address={cluster.scheduler_address}"]
        argv = [sys.executable, "-P", "-m", "launch.cli", "prepare", *chosen.recipe, "--runner", RUNNER, "--", *options]
        return subprocess.run(argv, env={**os.environ, **client_settings(security)}, check=False).returncode


def client_settings(security: Security) -> dict[str, str]:
    """Return the variables that tell Dask's client, which Beam starts without options for it, its certificate."""
    files = security.get_tls_config_for_role("client")
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    return {
        f"{prefix}CA_FILE": files["ca_file"],
        f"{prefix}CLIENT__CERT": files["cert"],
        f"{prefix}CLIENT__KEY": files["key"],
    }


if __name__ == "__main__":
    sys.exit(main())
