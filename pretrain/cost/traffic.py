"""What a rank sends in a step, and the time it takes."""

from __future__ import annotations

from configs.schema import TrainConfig
from pretrain.cost.hardware import Hardware
from pretrain.engine import KEPT_PARAMETERS


def reduced_bytes(train: TrainConfig) -> int:
    """Return the bytes of a gradient's element while it is summed over ranks."""
    return 4 if train.gradient_reduction == "fp32" else 2


def sent_bytes(train: TrainConfig, parameters: int, ranks: int, accumulation: int) -> float:
    """Return the bytes that a rank sends in a step, with ring algorithms (Rajbhandari et al. 2020, section 7).

    DeepSpeed's collectives differ from the paper's: at stage 2 it reduces gradients on all ranks instead of only on
    their owners; at stage 3 it keeps gathered weights for the backward, up to `KEPT_PARAMETERS`.
    """
    once = parameters * (ranks - 1) / ranks  # elements that a rank sends when all go around the ring once
    weights, sums = once * (4 if train.precision == "fp32" else 2), once * reduced_bytes(train)
    gradients = {
        0: 2 * sums,  # all-reduced
        1: sums,  # to their owners
        2: 2 * sums * accumulation,  # after each micro-step
        3: sums * accumulation,  # to their owners
    }
    gathers = {
        0: 0,
        1: 1,  # of weights, after the step
        2: 1,
        3: 1 if train.node_partition else _gathers(parameters, accumulation),
    }
    return gradients[train.zero_stage] + gathers[train.zero_stage] * weights


def sent_in_node_bytes(train: TrainConfig, parameters: int, node_ranks: int, accumulation: int) -> float:
    """Return the bytes that a rank sends in a step's collectives of its node: with `train.node_partition`, all gathers
    of weights but the first (Wang et al. 2023, section 3.2). They come on top of `sent_bytes`.
    """
    if not train.node_partition:
        return 0.0
    once = parameters * (node_ranks - 1) / node_ranks * (4 if train.precision == "fp32" else 2)
    return (_gathers(parameters, accumulation) - 1) * once


def _gathers(parameters: int, accumulation: int) -> int:
    """Return how often stage 3 gathers the weights: for each forward, and for a backward if not all are kept."""
    return accumulation * (1 if parameters <= KEPT_PARAMETERS else 2)


def sending_s(hardware: Hardware, ranks: int, sent: float) -> float:
    """Return the seconds of collectives on two levels, like NCCL's: within nodes, then between them on all links.

    A rank sends (n-1)/n of a tensor within its node of n ranks, and (N-1)/N of 1/n of it to the N-1 other nodes.
    """
    if ranks == 1:
        return 0.0
    in_node = min(ranks, hardware.per_node)
    within_bytes = sent * ranks / (ranks - 1) * (in_node - 1) / in_node
    between_bytes = sent - within_bytes
    return within_bytes / (hardware.node_gb_s * 1e9) + between_bytes / (hardware.network_gb_s * 1e9)
