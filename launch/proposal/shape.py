"""The size of model and batch that suits a machine and a corpus."""

from __future__ import annotations

from dataclasses import dataclass

LARGE_BYTES = 4 << 30  # of text: enough for a BERT base
BYTES_PER_ROW = 600  # of a row of 128 tokens
PASSES_BYTES = 1 << 30  # with less text than this, several passes over it with other masks
EPOCHS = 10.0  # passes over a smaller corpus


@dataclass(frozen=True)
class Shape:
    """The base of the recipe, the keys that differ from it, by section, and the reason."""

    base: str
    sections: dict[str, dict[str, object]]
    reason: str


def choose_shape(gpus: int, text_bytes: int) -> Shape:
    """Return what a machine with this number of GPUs can train on this much text in hours to days."""
    vocabulary = 30_522 if text_bytes > PASSES_BYTES else 16_384 if text_bytes > PASSES_BYTES >> 5 else 8_192
    sections: dict[str, dict[str, object]] = {"data.vocabulary": {"size": vocabulary}}
    if gpus > 1 and text_bytes > LARGE_BYTES:
        sections["cluster"] = {"gpus_per_node": gpus, "ranks_per_node": 0}
        return Shape("base_phase1", sections, f"{gpus} GPUs and much text: a BERT base")
    if gpus and text_bytes > LARGE_BYTES:
        return Shape("one_gpu_day", sections, "one GPU and much text: a BERT base for a day")
    rows = text_bytes / BYTES_PER_ROW
    if gpus:
        sections["train"] = {"steps": _steps(rows, 256)}
        return Shape("one_gpu_small", sections, f"{gpus} GPU(s): a small BERT")
    sections["model"] = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
    sections["train"] = {"steps": min(_steps(rows, 32), 20_000), "global_batch_size": 32, "micro_batch_size": 32}
    return Shape("one_gpu_small", sections, "no GPU: a smaller BERT and small batches")


def _steps(rows: float, batch: int) -> int:
    """Return the steps of `EPOCHS` passes, from 1,000 to 100,000, rounded to hundreds."""
    return min(100_000, max(1_000, round(EPOCHS * rows / batch / 100) * 100))
