"""`bertrain plan`: print tables of what a recipe costs, and plot how it scales."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.schema import Recipe, VocabularyConfig
from launch.display.settings import check_vocabulary_file
from launch.terminal import plain_table
from preprocessing.dataset import vocabulary_file
from preprocessing.documents import FORMATS
from preprocessing.vocabulary import read_vocabulary
from pretrain.checkpoint import Goodput, mtbf_s, predicted_goodput
from pretrain.cost import HARDWARE, LAUNCH_US, MATMUL_SHARE, Cost, Hardware, StepCost, preparation
from pretrain.telemetry import duration

logger = logging.getLogger(__name__)

GPUS = (8, 64, 512, 4_096)
BYTES_PER_WEIGHT = 14  # of a checkpoint: fp32 weight and moments take 12; the published figures assume 14
HOST_COPY_GB_S = 2.0  # per GPU; a save holds up training while it copies its share
COMMIT_S = 0.1  # a save also holds up training to make and to commit its folder
STORAGE_GB_S = 1.0  # of all GPUs together, to shared storage
REQUEUE_S, START_S = 60.0, 120.0  # from a failure to the next start, and to its first step
HANGS = 1 / 10  # share of the failures that nobody notices before cluster.step_timeout_s

TEXT_GB = (1, 10, 100, 1_000, 10_000)


def find_hardware(name: str, **measured: float | None) -> Hardware:
    """Return the named hardware profile, with the given fields of `Hardware` replaced.

    Capitals, blanks, and hyphens of the name do not matter: "RTX 4090" is rtx4090.
    """
    by_key = {_key(profile): profile for profile in HARDWARE}
    if _key(name) not in by_key:
        raise UserError(f"there is no profile {name!r}", place="--hardware", fix=f"choose one of {', '.join(HARDWARE)}")
    given: dict[str, Any] = {field: value for field, value in measured.items() if value is not None}
    return replace(HARDWARE[by_key[_key(name)]], **given)


def _key(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def show_plan(
    screen: Console, recipe: Recipe, hardware: Hardware, ranks: int, hours: float, picture: Path | None
) -> None:
    """Print the plan for `ranks` devices and a preparation in `hours`. Plot the scaling to `picture`, if given."""
    cost = Cost(recipe, hardware, vocabulary_size(recipe.data.vocabulary))
    data = recipe.data
    screen.print(
        f"{recipe.name}: {cost.parameters:,} parameters, {cost.row.flops / 1e9:,.1f} GFLOP per row of "
        f"{cost.row.length} tokens; {cost.recipe.train.global_batch_size:,} rows per step, {recipe.train.steps:,} steps"
    )
    screen.print(
        f"{hardware.name}: {hardware.peak_flops / 1e12:,.0f} TFLOP/s, {hardware.memory_gib:g} GiB at "
        f"{hardware.memory_gb_s:,.0f} GB/s; "
        f"{hardware.node_gb_s:g} GB/s within a node, {hardware.network_gb_s:g} GB/s between nodes"
    )
    screen.print(assumptions(cost))
    screen.print(memory_table(cost, ranks))
    steps = list(cost.scaling())
    screen.print(scaling_table(steps, cost))
    screen.print(goodput_table(cost, ranks))
    corpus_format = data.corpora[0].format if data.corpora else "text"
    screen.print(preparation_table(data.dupe_factor, corpus_format, hours))
    if picture is not None:
        draw_scaling(steps, f"{recipe.name} on {hardware.name}", picture)
        screen.print(f"scaling curve: {picture}", markup=False)


def assumptions(cost: Cost) -> str:
    """Return what the times rest on, in one line."""
    hardware, skipped = cost.hardware, cost.row.unread_flops / cost.row.flops
    host = (
        "the host's time is part of the device's"
        if hardware.is_cpu
        else f"a CPU core of {hardware.cpu_speed:g} times the speed of the one measured, {LAUNCH_US:g} us per launch"
    )
    return (
        f"assumed: matrix products reach {MATMUL_SHARE:.0%} of the peak; {host}; MFU counts the published model's "
        f"FLOPs, of which the last layer skips {skipped:.1%}"
    )


def vocabulary_size(config: VocabularyConfig) -> int:
    """Return the number of word pieces: those in the file that the recipe names, or those to train.

    The file of a data set that does not exist yet, such as an earlier phase's, has the planned size. Raises `UserError`
    for another file that does not exist.
    """
    file = Path(config.file) if config.file else None
    if file and file.is_file():
        return len(read_vocabulary(file, config))
    if file and (file.name != vocabulary_file(config) or file.parent.is_dir()):  # not that of a data set to come
        check_vocabulary_file(config)
    if file:
        logger.warning("%s does not exist: planned with data.vocabulary.size = %d", config.file, config.size)
    return config.size


def memory_table(cost: Cost, ranks: int) -> Table:
    """Return GiB per rank and the largest micro-batch at each ZeRO stage; for one rank, only at the stage it uses."""
    train, micro_batch = cost.recipe.train, cost.micro_batch_size
    titles = (
        "ZeRO",
        "weights and optimizer",
        f"activations of {micro_batch} rows",
        "GiB per rank",
        "most rows that fit",
    )
    table = _table(f"Memory on {ranks} rank(s)", titles)
    for stage in (0, 1, 2, 3) if ranks > 1 else (train.stage_on(1),):
        memory = cost.memory(ranks, micro_batch, stage)
        chosen = " (recipe)" if stage == train.zero_stage else "" if ranks > 1 else " (one rank)"
        rows = cost.largest_micro_batch(ranks, stage)
        numbers = (memory.states_gib, memory.activations_gib, memory.total_gib)
        table.add_row(f"{stage}{chosen}", *(f"{number:,.2f}" for number in numbers), f"{rows:,}" if rows else "none")
    return table


def scaling_table(costs: Sequence[StepCost], cost: Cost) -> Table:
    """Return the scaling table, one row per number of ranks."""
    titles = ("ranks", "micro", "acc.", "GB", "compute", "host", "send", "rows/s", "MFU", "linear", "time")
    table = _table(
        "Scaling (micro: rows per micro-batch; acc.: micro-batches per step; GB: sent by a rank; compute, host, send: "
        "seconds per step, of which host is that of Python and launches, for which a device waits; linear: rows/s "
        "relative to linear)",
        titles,
    )
    for one in costs:
        table.add_row(
            f"{one.ranks:,}",
            str(one.micro_batch_size),
            f"{one.accumulation:,}",
            f"{one.communication_gb:,.2f}",
            f"{one.compute_s:.3f}",
            f"{one.host_s:.3f}",
            f"{one.communication_s:.3f}",
            f"{one.rows_per_s:,.0f}",
            f"{cost.mfu(one):.1%}",
            f"{efficiency(one, costs[0]):.0%}",
            duration(cost.training_s(one.ranks)),
        )
    return table


def goodput_table(cost: Cost, ranks: int) -> Table:
    """Return the predicted goodput, one row per number of GPUs, with the assumptions in the title."""
    cluster, rate = cost.recipe.cluster, cost.recipe.checkpoint.failures_per_gpu_day
    limit_s = min(cluster.step_timeout_s, cluster.collective_timeout_s)
    title = (
        f"Goodput at {rate:g} failures per GPU and day; checkpoints of {BYTES_PER_WEIGHT} bytes per weight, "
        f"{STORAGE_GB_S:g} GB/s to shared storage, {HOST_COPY_GB_S:g} GB/s to host memory; {REQUEUE_S:g} s to requeue, "
        f"{START_S:g} s to start, one failure in {1 / HANGS:.0f} a hang of {limit_s} s"
    )
    table = _table(
        title, ("GPUs", "failures per day", "save every", "goodput", "saves", "repeated", "restarts", "hangs")
    )
    for gpus in sorted({*GPUS, ranks}):
        predicted = expected_goodput(cost.parameters, gpus, rate, limit_s)
        shares = (predicted.share, *predicted.losses.values())
        columns = (f"{gpus * rate:.2g}", duration(predicted.interval_s), *(f"{share:.2%}" for share in shares))
        table.add_row(f"{gpus:,}", *columns)
    return table


def expected_goodput(parameters: int, gpus: int, rate: float, limit_s: float) -> Goodput:
    """Predict the goodput of a model's training; `limit_s` is how long a hang is unnoticed."""
    gigabytes = parameters * BYTES_PER_WEIGHT / 1e9
    return predicted_goodput(
        mtbf_s=mtbf_s(gpus, rate),
        save_s=COMMIT_S + gigabytes / gpus / HOST_COPY_GB_S,
        write_s=gigabytes / STORAGE_GB_S,
        restart_s=REQUEUE_S + START_S,
        hang_s=HANGS * limit_s,
    )


def preparation_table(passes: int, corpus_format: str, hours: float) -> Table:
    """Return the cost of preparing each amount of text, and the number of cores that prepare it in `hours`."""
    text_mb_s = FORMATS[corpus_format].text_mb_s
    titles = ("text", "core-hours", "shards", f"cores for {hours:g} h")
    table = _table(f"Preparation: {passes} pass(es) over {corpus_format}, {text_mb_s:g} MB/s per core", titles)
    for text_gb in TEXT_GB:
        cost = preparation(text_gb, passes, text_mb_s)
        workers = cost.workers_for(hours)
        table.add_row(f"{text_gb:,} GB", f"{cost.core_hours:,.1f}", f"{cost.shards_gb:,.1f} GB", f"{workers:,}")
    return table


def efficiency(one: StepCost, alone: StepCost) -> float:
    """Return rows per second per rank, relative to a single rank."""
    return one.rows_per_s / one.ranks / (alone.rows_per_s / alone.ranks)


def draw_scaling(costs: Sequence[StepCost], title: str, picture: Path) -> None:
    """Plot rows per second over ranks next to linear scaling; the file's suffix selects the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    ranks = [one.ranks for one in costs]
    axes.loglog(ranks, [costs[0].rows_per_s * number for number in ranks], "--", color="grey", label="linear")
    axes.loglog(ranks, [one.rows_per_s for one in costs], "o-", label="planned")
    axes.set(xlabel="ranks", ylabel="rows per second", title=title)
    axes.set_xticks(ranks, [f"{number:,}" for number in ranks], minor=False)
    axes.grid(alpha=0.3)
    axes.legend()
    with explain_write_errors(picture):
        figure.savefig(picture, dpi=120)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = plain_table(*columns, justify="right", title=title, title_style="bold")
    table.collapse_padding = True
    table.columns[0].justify = "right"
    return table
