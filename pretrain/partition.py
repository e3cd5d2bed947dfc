"""Which slice of which parameter a rank holds, at each ZeRO stage.

DeepSpeed keeps the fp32 master weights and Adam's moments in tensors of its own making: one a parameter (stage 0), one
flat tensor a parameter group, cut evenly among the ranks wherever the cut may fall (stages 1 and 2), or one flat tensor
of every parameter's even share (stage 3), the last two padded. Here they become one thing: fragments, each a run of
consecutive elements of one named parameter, as views on those tensors. Together, the ranks' fragments hold every
element of every parameter; at stage 0 all ranks hold all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.distributed import World
from pretrain.optim import ensure_moments

KINDS = ("master", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fragment:
    """Elements `offset`, `offset + 1` … of the flattened parameter `name`: its three fp32 tensors, of one dimension."""

    name: str
    offset: int
    master: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @property
    def numel(self) -> int:
        """Elements in this fragment."""
        return self.master.numel()

    def narrow(self, start: int, length: int) -> Fragment:
        """The part of `length` elements from this fragment's element `start` on."""
        parts = (getattr(self, kind).narrow(0, start, length) for kind in KINDS)
        return Fragment(self.name, self.offset + start, *parts)


@dataclass(frozen=True)
class Partition:
    """A rank's fragments, those of them that it is to save, and how to bring the model's weights up to date.

    `refresh` is a collective: it rounds changed master weights to the model's precision and sends them where they are
    used. Over all ranks, `saved` has every element of every parameter exactly once.
    """

    fragments: list[Fragment]
    saved: list[Fragment]
    refresh: Callable[[], None]


def replicated(model: nn.Module, adam: torch.optim.AdamW, masters: dict[str, Tensor], world: World) -> Partition:
    """Stage 0. `masters` are the parameters themselves, or fp32 copies of them; each rank saves an even share."""
    fragments = [_fragment(name, 0, adam, master, 0, master.numel()) for name, master in masters.items()]

    @torch.no_grad()
    def refresh() -> None:
        for name, parameter in model.named_parameters():
            if parameter is not masters[name]:
                parameter.copy_(masters[name])

    return Partition(fragments, list(_shares(fragments, world)), refresh)


def flat(model: nn.Module, adam: torch.optim.AdamW, zero: Any) -> Partition:
    """Stages 1 and 2. `zero` is DeepSpeed's optimizer; a parameter that does not touch this rank maps to None."""
    parameters: dict[str, Any] = dict(model.named_parameters())
    mapped = ((name, parameter._hp_mapping) for name, parameter in parameters.items())
    fragments = [
        _fragment(
            name,
            mapping.lp_fragment_address.start,
            adam,
            adam.param_groups[mapping.param_group_index]["params"][0],
            mapping.hp_fragment_address.start,
            mapping.hp_fragment_address.numel,
        )
        for name, mapping in mapped
        if mapping is not None
    ]
    return Partition(fragments, fragments, zero.update_lp_params)


def sharded(model: nn.Module, adam: torch.optim.AdamW, zero: Any, world: World) -> Partition:
    """Stage 3. Every parameter is cut into even shares, one a rank, the last ones padded or nothing but padding."""
    parameters: dict[str, Any] = dict(model.named_parameters())
    fragments = []
    for name, parameter in parameters.items():
        group, start, share = zero.grad_position[zero.get_param_id(parameter)]
        offset = world.rank * share
        length = min(share, parameter.ds_numel - offset)
        if length > 0:
            weights = zero.fp32_partitioned_groups_flat[group]
            fragments.append(_fragment(name, offset, adam, weights, start, length))

    def refresh() -> None:
        zero._partition_all_parameters()
        for group in range(len(zero.fp16_groups)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        if zero.persistent_parameters:  # small ones, which every rank keeps whole
            zero.persistent_parameters[0].all_gather(zero.persistent_parameters)

    return Partition(fragments, fragments, refresh)


def _fragment(name: str, offset: int, adam: torch.optim.AdamW, weights: Tensor, start: int, length: int) -> Fragment:
    """`length` elements of what `adam` steps on, `weights`, from its element `start` on."""
    state = ensure_moments(adam, weights)
    whole = {"master": weights.detach()} | {kind: state[kind] for kind in KINDS[1:]}
    return Fragment(name, offset, *(whole[kind].view(-1).narrow(0, start, length) for kind in KINDS))


def _shares(fragments: list[Fragment], world: World) -> Iterator[Fragment]:
    for fragment in fragments:
        start = fragment.numel * world.rank // world.world_size
        length = fragment.numel * (world.rank + 1) // world.world_size - start
        if length:
            yield fragment.narrow(start, length)
