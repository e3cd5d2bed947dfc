"""The package `pretrain` with another `__main__`: all else is the real one's."""

from pathlib import Path

__path__.append(str(Path(__file__).parents[4] / "pretrain"))
