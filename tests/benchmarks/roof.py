"""Estimate, kernel by kernel, a step of BERT-large on one H200: an arithmetic, not a measurement.

    python -m tests.benchmarks.roof

Each kernel takes the longer of its FLOPs at an assumed rate and its bytes at an assumed bandwidth. The rates are
assumptions about this device; the bytes and the number of kernels are this code's (`host_cost` counts them). The last
line is one JSON object. `ratio` is the estimated MFU of the code as it is over that of the code when it was first
counted: the smaller ratio of two cases, rows of 128 and of 512 tokens.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

PEAK = 989e12  # FLOP/s in bf16
BANDWIDTH = 4.0e12  # bytes/s that kernels reach of 4.8e12
LAUNCH_S = 3e-6  # of a kernel with little work
LARGE_KERNELS = 22  # per layer: 12 products, attention and its backward, 2 GELUs, 4 add_norms, 1 stack, 1 sum of biases
HIDDEN, FEED, LAYERS, VOCABULARY, PARAMETERS = 1024, 4096, 24, 30_528, 336.2e6
CASES = {128: (65_536, 19), 512: (65_536, 76)}  # row length: tokens of a micro-batch, masked tokens of a row
FLASH = {128: (200e12, 130e12), 512: (330e12, 220e12)}  # FlashAttention-2, forward and backward, by row length
FLASH_3 = {128: (300e12, 220e12), 512: (520e12, 400e12)}


@dataclass(frozen=True)
class Code:
    """What an implementation does. The fields describe a step of one micro-batch per optimizer step."""

    small_kernels: int  # per layer: sums, casts and copies with little work
    adds_residuals: bool  # gradients of residual sums are added in passes of their own
    casts_gradients: bool  # products write 16-bit gradients, which are widened later
    stacks_qkv: bool = True  # the gradients of queries, keys and values are copied into one tensor
    separate_gelu: bool = True
    flash: Mapping[int, tuple[float, float]] = field(default_factory=lambda: FLASH)
    # FLOP/s of products of the attention's shapes and their weights' gradients, and the same of the feed-forward layer.
    products: tuple[float, float, float, float] = (620e12, 520e12, 680e12, 620e12)


FIRST = Code(small_kernels=12, adds_residuals=True, casts_gradients=True)
NOW = Code(small_kernels=3, adds_residuals=False, casts_gradients=False)
FASTER = replace(NOW, flash=FLASH_3, stacks_qkv=False)
EPILOGUE = replace(FASTER, separate_gelu=False)
ROWS = {
    "when it was first counted": FIRST,
    "now": NOW,
    "FlashAttention-3 (no attention dropout), qkv gradients in place": FASTER,
    "and exact GELU in the epilogue of its product": EPILOGUE,
}


class Kernels:
    """The seconds of a step's kernels, by kind."""

    def __init__(self, code: Code, length: int) -> None:
        self.code, self.length = code, length
        self.tokens, self.masked = CASES[length]
        self.rows = self.tokens / length
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def product(self, kind: str, m: float, n: float, k: float, rate: float, more_bytes: float = 0.0) -> None:
        """Add a matrix product of [m, k] and [k, n] in 16 bits."""
        moved = 2 * (m * k + k * n + m * n) + more_bytes
        self.seconds[kind] += max(2 * m * n * k / rate, moved / BANDWIDTH)

    def moved(self, kind: str, size: float) -> None:
        """Add kernels that read and write `size` bytes."""
        self.seconds[kind] += size / BANDWIDTH

    def products_of_layer(self, out: float) -> None:
        """Add a layer's products; `out` tokens of its output are computed."""
        code, tokens = self.code, self.tokens
        product, weight, feed, feed_weight = self.product, *code.products[1:]
        joined = 0.0 if code.adds_residuals else 2 * HIDDEN  # bytes per token of a residual's gradient, added here
        wide = 0.0 if code.casts_gradients else 2.0  # more bytes of each element that a product writes in fp32
        for kind in ("products, forward", "products, input gradients"):
            is_forward = kind.endswith("forward")
            product(kind, tokens, 3 * HIDDEN, HIDDEN, code.products[0] if is_forward else feed)
            product(kind, out, HIDDEN, HIDDEN, code.products[0])
            product(kind, out, FEED, HIDDEN, feed)
            product(kind, out, HIDDEN, FEED, feed)
        self.moved("products, input gradients", joined * (tokens + out))
        for columns, rows, over, rate in (
            (3 * HIDDEN, HIDDEN, tokens, weight),
            (HIDDEN, HIDDEN, out, weight),
            (FEED, HIDDEN, out, feed_weight),
            (HIDDEN, FEED, out, feed_weight),
        ):
            product("products, weight gradients", columns, rows, over, rate, wide * columns * rows)

    def others_of_layer(self, out: float) -> None:
        """Add a layer's attention and what works on single elements."""
        code, tokens = self.code, self.tokens
        flops = 4 * self.length * HIDDEN * tokens
        forward, backward = code.flash[self.length]
        self.seconds["attention"] += max(flops / forward, 8 * HIDDEN * tokens / BANDWIDTH)
        self.seconds["attention"] += max(2.5 * flops / backward, 22 * HIDDEN * tokens / BANDWIDTH)
        self.moved("attention", 12 * HIDDEN * tokens if code.stacks_qkv else 0.0)
        self.moved("gradients of biases", 6 * HIDDEN * tokens)
        self.moved("add_norm", (12 + 20) * HIDDEN * out)
        self.moved("sums of residual gradients", 6 * HIDDEN * (out + tokens) if code.adds_residuals else 0.0)
        self.moved("GELU", (10 if code.separate_gelu else 2) * FEED * out)
        self.seconds["small kernels"] += code.small_kernels * LAUNCH_S

    def outside_layers(self) -> None:
        """Add embeddings, heads, and the update."""
        predicted = self.rows * self.masked
        for m, n, k in ((predicted, HIDDEN, HIDDEN), (predicted, HIDDEN, HIDDEN), (HIDDEN, HIDDEN, predicted)):
            self.product("masked-LM head", m, n, k, self.code.products[0])
        words = ((predicted, VOCABULARY, HIDDEN), (predicted, HIDDEN, VOCABULARY), (VOCABULARY, HIDDEN, predicted))
        for m, n, k in words:
            self.product("masked-LM head", m, n, k, self.code.products[2])
        self.moved("masked-LM head", 8 * predicted * VOCABULARY + 8 * VOCABULARY * HIDDEN)
        self.moved("embeddings", 14 * HIDDEN * self.tokens + 6 * VOCABULARY * HIDDEN)
        self.seconds["embeddings"] += 0.25e-3
        self.moved("gradients, widened", 6 * PARAMETERS if self.code.casts_gradients else 0.0)
        self.moved("norm and update", (4 + 28 + 6) * PARAMETERS)
        self.seconds["norm and update"] += 0.4e-3


def step_s(code: Code, length: int) -> dict[str, float]:
    """Return the seconds of each kind of kernel in one step."""
    kernels = Kernels(code, length)
    read = kernels.rows * (kernels.masked + 1)  # tokens whose output the last layer computes
    for layer in range(LAYERS):
        out = read if layer == LAYERS - 1 else kernels.tokens
        kernels.products_of_layer(out)
        kernels.others_of_layer(out)
    kernels.outside_layers()
    return {kind: time_s for kind, time_s in kernels.seconds.items() if time_s}


def model_flops(length: int) -> float:
    """Return the FLOPs of a forward and a backward of the published model, which compute every token of all layers."""
    tokens, masked = CASES[length]
    rows = tokens / length
    layers = LAYERS * (tokens * (4 * HIDDEN**2 + 2 * HIDDEN * FEED) + 2 * rows * length**2 * HIDDEN)
    heads = rows * masked * HIDDEN * (HIDDEN + 30_522) + rows * HIDDEN * (HIDDEN + 2)
    return 6 * (layers + heads)


def estimated_mfu(code: Code, length: int) -> float:
    """Return the model FLOPs utilisation if the GPU never waits for the host."""
    return model_flops(length) / sum(step_s(code, length).values()) / PEAK


def table() -> list[str]:
    """Return the estimates as the rows of a Markdown table."""
    lines = ["| BERT-large on one H200, an estimate | 128 tokens | 512 tokens |", "|---|---|---|"]
    for name, code in ROWS.items():
        shares = " | ".join(f"{estimated_mfu(code, length):.1%}".replace("%", " %") for length in CASES)
        lines.append(f"| {name} | {shares} |")
    return lines


def main() -> None:
    print("\n".join(table()))
    for length in CASES:
        seconds = step_s(NOW, length)
        for kind, time_s in sorted(seconds.items(), key=lambda item: -item[1]):
            print(f"{length} tokens: {kind:28} {1e3 * time_s:7.2f} ms {time_s / sum(seconds.values()):6.1%}")
    mfu = {str(length): [round(estimated_mfu(code, length), 4) for code in (FIRST, NOW)] for length in CASES}
    ratio = min(now / first for first, now in mfu.values())
    reference = "an estimate of the code when it was first counted"
    print(json.dumps({"benchmark": "roof", "ratio": round(ratio, 4), "reference": reference, "mfu": mfu}))


if __name__ == "__main__":
    main()
