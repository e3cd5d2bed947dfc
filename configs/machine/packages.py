"""Optional packages: which extra of bertrain brings each, and the command that installs an extra.

bertrain is on no package index, and can be installed from a checkout or a wheel. So the command names the packages.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import configs
from configs.errors import UserError

# By extra: the modules that bertrain imports, with the distributions that provide them. As in pyproject.toml.
EXTRAS = {
    "train": {
        "torch": "torch",
        "deepspeed": "deepspeed",
        "safetensors": "safetensors",
        "setuptools": "setuptools",
        "tensorboard": "tensorboard",
        "plotext": "plotext",
    },
    "mpi": {"mpi4py": "mpi4py"},
    "transfer": {
        "sklearn": "scikit-learn",
        "scipy": "scipy",
        "seqeval": "seqeval",
        "transformers": "transformers",
    },
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    "wandb": {"wandb": "wandb"},
    "mlflow": {"mlflow": "mlflow-skinny"},
    "s3": {"s3fs": "s3fs"},
    "gcs": {"gcsfs": "gcsfs"},
    "near": {"datasketch": "datasketch"},
    "web": {"resiliparse": "resiliparse", "warcio": "warcio"},
    "chinese": {"jieba": "jieba"},
    "dask": {"distributed": "distributed"},
}


def install_packages(names: Iterable[str]) -> str:
    """Return the shell command that installs packages, in the versions that were tested together."""
    assert configs.__file__ is not None
    pins = Path(configs.__file__).parent / "constraints.txt"
    return shlex.join([sys.executable, "-m", "pip", "install", "-c", str(pins), *names])


def install_command(extra: str) -> str:
    """Return the shell command that installs an extra's packages."""
    return install_packages(EXTRAS[extra].values())


def install_extra(extra: str) -> str:
    """Return the fix of an error about a missing package, as a sentence."""
    return f"install the extra `{extra}`: {install_command(extra)}"


def require_package(module: str) -> None:
    """Raise `UserError` unless `module`, which one of the extras brings, can be imported."""
    if importlib.util.find_spec(module) is None:
        raise _missing(module)


@contextmanager
def missing_packages_explained() -> Iterator[None]:
    """Raise `UserError` if the block cannot import a package of an extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if any(module in modules for modules in EXTRAS.values()):
            raise _missing(module) from None
        raise


def _missing(module: str) -> UserError:
    extra = next(extra for extra, modules in EXTRAS.items() if module in modules)
    return UserError(f"{EXTRAS[extra][module]} is not installed", place=sys.executable, fix=install_extra(extra))
