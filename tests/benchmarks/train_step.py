"""Compare the training step with transformers: `python -m tests.benchmarks.train_step --model mini --dataset DIR`.

Each peer is a process with its own memory, threads and allocator. The peers take turns of about a second, never at
the same time, and use the same rows of the same shards in each turn. A figure is the median of a peer's turns. A
ratio is the median of the turns' ratios, so that a slow moment of the machine affects all peers.

    ours      Trainer's complete step: ragged batches from the loader, DeepSpeed, clipping, AdamW (or LAMB), the losses
    eager     transformers' BertForPreTraining with SDPA, rows padded to the longest of the batch, labels -100 elsewhere
    compiled  the same under torch.compile, rows padded to the data set's length, which gives a single shape

Theirs use typical settings: bf16 autocast over fp32 weights, torch's fused AdamW with decay on matrices, clipping at
1, dropout 0.1, batches on the device before the clock starts, and no reading of the loss. All peers read from the
same loader. Tokens per second count real tokens, not padding. torch has no LAMB, so theirs always use AdamW.

Without --dataset the rows are synthetic, and nine in ten are full. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, repeat
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from configs.recipe import load_recipe, write_recipe
from configs.schema import DataConfig, Recipe
from preprocessing.dataset.manifest import Manifest, read_manifest
from pretrain.data.dataset import Dataset
from pretrain.data.loader import Loader
from pretrain.data.step import Step
from pretrain.data.synthetic import write_synthetic
from pretrain.engine.distributed import World, join_process_group, leave_process_group
from pretrain.huggingface.configuration import to_hugging_face_config
from pretrain.model import flops
from pretrain.stop import StopRequest
from pretrain.telemetry.throughput import peak_memory_gib
from pretrain.trainer import Trainer
from tests.benchmarks.parity import IGNORED, inputs_of, plain_groups

CUDA = torch.cuda.is_available()
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Layers, hidden size, heads; rows per step on a CPU and on a GPU, at 128 tokens.
MODELS = {"mini": (4, 256, 4, 16, 512), "base": (12, 768, 12, 8, 256), "large": (24, 1024, 16, 8, 128)}
PEERS = ("ours", "eager", "compiled")
WARM_UP_STEPS = 5


@dataclass(frozen=True)
class Turn:
    """A peer's work and time in one turn."""

    steps: int
    tokens: int
    places: int  # tokens including padding
    flops: int
    seconds: float
    cpu_s: float
    memory_gib: float  # peak so far
    loss: float  # of the last step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="mini")
    parser.add_argument("--dataset", type=Path, help="a data set that `bertrain prepare` made; else synthetic rows")
    parser.add_argument("--length", type=int, default=128, help="tokens of a full row, for synthetic rows")
    parser.add_argument("--rows", type=int, help="rows per step (default: a power of two that fits)")
    parser.add_argument("--seconds", type=float, default=60.0, help="measuring time of all peers together")
    parser.add_argument(
        "--optimizer", choices=("adamw", "lamb"), default="adamw", help="optimizer of ours; theirs use AdamW"
    )
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="precision of all peers")
    parser.add_argument("--threads", type=int, default=0, help="threads of each peer on a CPU (default: all cores)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        recipe = recipe_of(arguments, Path(temporary))
        run = Path(temporary) / "run"
        run.mkdir()
        write_recipe(recipe, run / "recipe.toml")
        turns = take_turns(run, arguments.peers, arguments.seconds)
        torch.set_num_threads(arguments.threads or torch.get_num_threads())
        print(json.dumps(report(recipe, turns, large_product(arguments.precision))))


def recipe_of(arguments: argparse.Namespace, folder: Path) -> Recipe:
    """Return the recipe of the measured run. Makes a data set if none is given."""
    layers, hidden, heads, cpu_rows, gpu_rows = MODELS[arguments.model]
    if arguments.dataset is None:
        dataset, short = folder / "dataset", {"short_seq_prob": 0.1}
        predictions = min(80, round(0.15 * arguments.length) + 1)
        fields = {"max_seq_length": arguments.length, "max_predictions_per_seq": predictions} | short
        manifest = write_synthetic(dataset, DataConfig.model_validate(fields))
    else:
        dataset, manifest = arguments.dataset, read_manifest(arguments.dataset)
    rows = arguments.rows or max(1, (gpu_rows if CUDA else cpu_rows) * 128 // manifest.max_seq_length)
    wanted = {
        "data": {
            "dataset": str(dataset),
            "max_seq_length": manifest.max_seq_length,
            "max_predictions_per_seq": manifest.max_predictions_per_seq,
            "dupe_factor": manifest.dupe_factor,
        },
        "model": {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
        },
        "optimizer": {"name": arguments.optimizer, "warmup_steps": 100},
        "train": {
            "precision": arguments.precision,
            "global_batch_size": rows,
            "micro_batch_size": rows,
        },
        "cluster": {"cpu_threads": arguments.threads},
    }
    return Recipe.model_validate(wanted)


def take_turns(run: Path, peers: list[str], seconds: float) -> dict[str, list[Turn]]:
    """Run every peer once per round until the time is up. All turns of a round have the same number of steps."""
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for peer in peers:
        pipes[peer], its_end = spawn.Pipe()
        processes.append(spawn.Process(target=serve, args=(peer, str(run), its_end), daemon=True))
        processes[-1].start()
        its_end.close()
        first = ask(pipes[peer], WARM_UP_STEPS)  # compile and warm up before the next peer starts
        print(f"{peer}: {first.seconds:.1f} s for the first {WARM_UP_STEPS} steps", file=sys.stderr, flush=True)
    probe = {peer: ask(pipe, WARM_UP_STEPS) for peer, pipe in pipes.items()}
    steps = max(2, round(WARM_UP_STEPS * min(2.0, seconds / 9 / len(peers)) / probe[peers[0]].seconds))
    turns: dict[str, list[Turn]] = {peer: [] for peer in peers}
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(turns[peers[-1]]) < 3:
        for peer, pipe in pipes.items():
            turns[peer].append(ask(pipe, steps))
            print(peer, f"{turns[peer][-1].seconds / steps * 1e3:.1f} ms a step", file=sys.stderr, flush=True)
    for pipe in pipes.values():
        pipe.send(0)
    for process in processes:
        process.join()
    return turns


def ask(pipe: Any, steps: int) -> Turn:
    pipe.send(steps)
    answer: Turn = pipe.recv()
    return answer


def serve(peer: str, run: str, pipe: Connection) -> None:
    """Run in a peer's process: take the requested number of steps, until 0 are requested."""
    recipe = load_recipe(Path(run) / "recipe.toml")
    if peer == "ours":
        turns = ours(Path(run), recipe, join_process_group(recipe.cluster))
    else:  # an untuned process, as in typical use: `start` tunes its memory
        torch.set_num_threads(recipe.cluster.cpu_threads or torch.get_num_threads())
        turns = theirs(recipe, torch.device("cuda" if CUDA else "cpu"), peer == "compiled")
    with closing(turns):
        next(turns)
        while count := pipe.recv():
            pipe.send(turns.send(count))
    leave_process_group()


def ours(run: Path, recipe: Recipe, world: World) -> Generator[Turn | None, int]:
    """Run the trainer's loop without evaluations and checkpoints. Yield a turn for each number of steps sent."""
    trainer = Trainer(run, recipe, world, StopRequest())
    state, turn = trainer._restore("never"), None
    with closing(trainer._loader().steps(0, repeat(trainer.recipe.train.global_batch_size))) as steps:
        while True:
            count, taken = (yield turn), []
            with Clock(world.device) as clock:
                for step in islice(steps, count):
                    state, metrics = trainer._train_step(state, step)
                    taken.append(step)
            turn = clock.turn(trainer.recipe, taken, sum(step.tokens for step in taken), metrics.loss)


def theirs(recipe: Recipe, device: torch.device, compiled: bool) -> Generator[Turn | None, int]:
    """Run transformers' model in a typical training loop."""
    torch.manual_seed(recipe.train.seed)
    manifest, turn = read_manifest(Path(recipe.data.dataset)), None
    fields = to_hugging_face_config(recipe.model, manifest.vocabulary.size)
    config = transformers.BertConfig.from_dict(fields, attn_implementation="sdpa")
    model: Any = transformers.BertForPreTraining(config)
    model.to(device).train()
    run_model = torch.compile(model) if compiled else model
    optimizer = recipe.optimizer
    adam = torch.optim.AdamW(
        plain_groups(model, optimizer.weight_decay),
        lr=optimizer.learning_rate / optimizer.warmup_steps,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.eps,
        fused=True,
    )
    length = manifest.max_seq_length if compiled else 0
    with closing(loader_of(recipe, manifest).steps(0, repeat(recipe.train.global_batch_size))) as steps:
        while True:
            taken = list(islice(steps, (yield turn)))
            ready = [padded_inputs(step, length, device) for step in taken]
            with Clock(device) as clock:
                for inputs in ready:
                    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.train.precision == "bf16"):
                        loss = run_model(**inputs).loss
                    adam.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), optimizer.gradient_clipping)
                    adam.step()
            turn = clock.turn(recipe, taken, sum(inputs["input_ids"].numel() for inputs in ready), loss.item())


def loader_of(recipe: Recipe, manifest: Manifest) -> Loader:
    """Return a loader of the trainer's rows in the trainer's order."""
    return Loader(
        [Dataset(recipe.data.dataset, manifest)],
        seed=recipe.train.seed,
        shuffle_window_rows=recipe.train.shuffle_window_rows,
        rank=0,
        world_size=1,
        micro_batch_size=recipe.train.micro_batch_size,
    )


def padded_inputs(step: Step, length: int, device: torch.device) -> dict[str, Tensor]:
    """Return the inputs of transformers' model, at least `length` wide."""
    inputs = inputs_of(step.batches[0])
    missing = max(0, length - inputs["input_ids"].shape[1])
    wide = {
        name: F.pad(tensor, (0, missing), value=IGNORED if name == "labels" else 0)
        for name, tensor in inputs.items()
        if tensor.ndim == 2
    }
    return {name: tensor.to(device) for name, tensor in (inputs | wide).items()}


class Clock:
    """Wall and CPU seconds of a block; on a GPU, including the time until its work is finished."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> Clock:
        self._wait()
        self.began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.ended = time.perf_counter(), time.process_time()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def turn(self, recipe: Recipe, steps: list[Step], places: int, loss: float) -> Turn:
        """Return the turn of these steps."""
        seconds, cpu_s = (end - begin for begin, end in zip(self.began, self.ended, strict=True))
        sums = {name: sum(getattr(step, name) for step in steps) for name in ("tokens", "masked_tokens")}
        lengths = [length for step in steps for length in step.lengths.tolist()]
        manifest = read_manifest(Path(recipe.data.dataset))
        work = flops.training_flops(
            recipe.model,
            manifest.vocabulary.size,
            manifest.objective,
            lengths=lengths,
            masked_tokens=sums["masked_tokens"],
        )
        return Turn(len(steps), sums["tokens"], places, work, seconds, cpu_s, peak_memory_gib(self.device), loss)


def report(recipe: Recipe, turns: dict[str, list[Turn]], matmul_flops: float) -> dict[str, object]:
    """Return the medians per peer, and the ratios of turns of the same round."""
    device = torch.device("cuda" if CUDA else "cpu")
    peak = flops.peak_flops(device)
    figures = {}
    for peer, of_peer in turns.items():
        flops_per_s = statistics.median(turn.flops / turn.seconds for turn in of_peer)
        figures[peer] = {
            "tokens_per_s": round(statistics.median(turn.tokens / turn.seconds for turn in of_peer)),
            "step_ms": round(1e3 * statistics.median(turn.seconds / turn.steps for turn in of_peer), 2),
            "step_cpu_ms": round(1e3 * statistics.median(turn.cpu_s / turn.steps for turn in of_peer), 2),
            "tflops": round(flops_per_s / 1e12, 4),
            "mfu": round(flops_per_s / peak, 4) if peak else None,
            "large_product_pct": round(100 * flops_per_s / matmul_flops, 1),
            "peak_memory_gib": round(max(turn.memory_gib for turn in of_peer), 2),
            "padding_pct": round(100 * (1 - sum(t.tokens for t in of_peer) / sum(t.places for t in of_peer)), 2),
            "last_loss": round(of_peer[-1].loss, 3),
        }
    return {
        "benchmark": "train_step",
        "ratio": ratio(turns, "eager"),
        "ratio_compiled": ratio(turns, "compiled"),
        "reference": f"transformers {transformers.__version__} eager, SDPA",
        "model": f"{recipe.model.num_hidden_layers} x {recipe.model.hidden_size}",
        "rows": recipe.train.global_batch_size,
        "length": recipe.data.max_seq_length,
        "precision": recipe.train.precision,
        "optimizer": recipe.optimizer.name,
        "zero_stage": recipe.train.stage_on(1),
        "device": torch.cuda.get_device_name() if CUDA else "CPU",
        "torch": torch.__version__,
        "rounds": len(turns[next(iter(turns))]),
        "large_product_tflops": round(matmul_flops / 1e12, 3),
        "peers": figures,
    }


def ratio(turns: dict[str, list[Turn]], peer: str) -> float | None:
    """Return our tokens per second over those of `peer`; None if one of them did not run."""
    pairs = zip(turns.get("ours", []), turns.get(peer, []), strict=False)
    ratios = [(ours.tokens / ours.seconds) / (theirs.tokens / theirs.seconds) for ours, theirs in pairs]
    return round(statistics.median(ratios), 3) if ratios else None


def large_product(precision: str) -> float:
    """Return the FLOP/s of a large matrix product, the best of several: an upper bound for the step."""
    device = torch.device("cuda" if CUDA else "cpu")
    size = 8192 if CUDA else 2048
    left, right = (torch.randn(size, size, device=device).to(DTYPES[precision]) for _ in range(2))
    times = []
    for _ in range(10):
        with Clock(device) as clock:
            left @ right
        times.append(clock.ended[0] - clock.began[0])
    return 2 * size**3 / min(times)


if __name__ == "__main__":
    main()
