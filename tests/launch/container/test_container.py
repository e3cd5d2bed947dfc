"""The images' definitions, and what Kubernetes and SkyPilot would start, run here with the variables that they set.

No container engine, Kubernetes or cloud is at hand: the images were not built.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.integration.small import bertrain, environment, write_small

ROOT = Path(__file__).parents[3]
CONTAINER = ROOT / "launch" / "container"
DOCKERFILE = (CONTAINER / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (CONTAINER / "bertrain.def").read_text(encoding="utf-8")


def copied(text: str) -> list[str]:
    """Return the repository's files and folders that the Dockerfile copies, all to places of the same names."""
    words = [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]
    assert all(target in ("./", *sources) for *sources, target in words)
    return [source for *sources, _ in words for source in sources]


def installs(text: str) -> list[str]:
    return re.findall(r"pip install --no-cache-dir (.*)", text)


def test_both_images_have_the_same_base_files_and_packages() -> None:
    assert re.findall(r"^FROM (.*)$", DOCKERFILE, re.MULTILINE) == re.findall(r"^From: (.*)$", APPTAINER, re.MULTILINE)
    files = re.search(r"%files\n(.*?)\n\n", APPTAINER, re.DOTALL)
    assert files is not None
    sources = [line.split()[0] for line in files[1].splitlines()]
    assert sources == copied(DOCKERFILE)
    assert all((ROOT / source).exists() for source in sources)
    packages = r"apt-get install -y --no-install-recommends (.*?)(?: \\)?$"
    assert re.findall(packages, DOCKERFILE, re.MULTILINE) == re.findall(packages, APPTAINER, re.MULTILINE)


def test_both_images_install_as_the_readme_says_with_the_pins_of_every_installation() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = [
        line.replace(" -e ", " ") for line in re.findall(r"^pip install (-c [^#\n]*[^# \n])", readme, re.MULTILINE)
    ]
    assert installs(DOCKERFILE) == installs(APPTAINER) == printed[:2]


def test_the_copied_files_are_all_that_an_installation_needs(tmp_path: Path) -> None:
    for source in copied(DOCKERFILE):
        place = tmp_path / "source" / source
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, place)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), "."], cwd=tmp_path / "source", check=True)
    told = subprocess.run(
        [sys.executable, "-P", "-m", "launch.cli", "--version"],
        cwd=tmp_path, env=environment() | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.startswith("bertrain ")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `mine.toml` and its data set, as the volume of all nodes holds them."""
    folder = tmp_path_factory.mktemp("work")
    write_small(folder)
    recipe = (folder / "recipe.toml").read_text().replace("ranks_per_node = 2", "ranks_per_node = 1")
    (folder / "mine.toml").write_text(recipe.replace("steps = 12", "steps = 3"))
    made = bertrain(folder, "prepare", "mine.toml", "data.workers=1")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.slow
def test_kubernetes_pods_train_one_run(prepared: Path) -> None:
    job = yaml.safe_load((CONTAINER / "pytorchjob.yaml").read_text())
    roles = job["spec"]["pytorchReplicaSpecs"]
    (container,) = roles["Master"]["template"]["spec"]["containers"]
    assert (roles["Worker"], container["name"]) == (roles["Master"], "pytorch")
    port = free_port()
    pods = [{"RANK": str(pod), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} for pod in range(2)]
    run_on_nodes([*with_our_python(container["command"]), "name=kubernetes"], pods, prepared)
    assert files_of_the_last_checkpoint(prepared / "runs/kubernetes") == ["rank_00000", "rank_00001", "state"]


@pytest.mark.slow
def test_skypilot_nodes_train_one_run(prepared: Path) -> None:
    task = yaml.safe_load((CONTAINER / "skypilot.yaml").read_text())
    assert list(task["volumes"]) == ["/work"]
    script = task["run"].replace("cd /work", f"cd {prepared}").replace("29500", free_port())
    nodes = [
        {
            "SKYPILOT_NUM_NODES": str(task["num_nodes"]),
            "SKYPILOT_NODE_RANK": str(node),
            "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
            "SKYPILOT_NUM_GPUS_PER_NODE": "1",
        }
        for node in range(2)
    ]
    run_on_nodes(["bash", "-euc", script], nodes, prepared)
    assert files_of_the_last_checkpoint(prepared / "runs/small") == ["rank_00000", "rank_00001", "state"]


def files_of_the_last_checkpoint(run: Path) -> list[str]:
    return sorted(file.stem for file in (run / "checkpoints" / "step_00000003").iterdir())


def with_our_python(command: Sequence[str]) -> list[str]:
    """Return the command with this environment's `bertrain`."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def run_on_nodes(argv: Sequence[str], nodes: Sequence[dict[str, str]], folder: Path) -> None:
    """Start the command once a node, and wait until all have succeeded."""
    path = f"{Path(sys.executable).parent}:{environment()['PATH']}"
    started = [
        subprocess.Popen(
            argv, cwd=folder, env=environment() | {"PATH": path, "OMP_NUM_THREADS": "1"} | node,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for node in nodes
    ]  # fmt: skip
    outs = [node.communicate(timeout=240)[0] for node in started]
    assert [node.returncode for node in started] == [0, 0], outs


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
