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

from torch import Tensor, nn
from torch.optim import Optimizer

from pretrain.engine.distributed import World
from pretrain.engine.optimizers import MOMENTS, FlatSlice, ensure_moments

KINDS = ("master", *MOMENTS)


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
    """A rank's fragments with their places, those that it is to save, and how to bring the model's weights up to date.

    `refresh` is a collective: it rounds changed master weights to the model's precision and sends them where they are
    used. Over all ranks, `saved` has every element of every parameter exactly once.
    """

    places: list[FlatSlice]
    fragments: list[Fragment]
    saved: list[Fragment]
    refresh: Callable[[], None]


def replicated(
    masters: dict[str, Tensor], optimizer: Optimizer, refresh: Callable[[], None], world: World
) -> Partition:
    """Stage 0. `masters` are the parameters themselves, or fp32 copies of them; each rank saves an even share."""
    places = [FlatSlice(name, 0, master, 0, master.numel()) for name, master in masters.items()]
    fragments = _fragments(places, optimizer)
    return Partition(places, fragments, list(_shares(fragments, world)), refresh)


def flat(model: nn.Module, optimizer: Optimizer, zero: Any) -> Partition:
    """Stages 1 and 2. `zero` is DeepSpeed's optimizer; a parameter that does not touch this rank maps to None."""
    parameters: dict[str, Any] = dict(model.named_parameters())
    mapped = ((name, parameter._hp_mapping) for name, parameter in parameters.items())
    places = [
        FlatSlice(
            name,
            mapping.lp_fragment_address.start,
            optimizer.param_groups[mapping.param_group_index]["params"][0],
            mapping.hp_fragment_address.start,
            mapping.hp_fragment_address.numel,
        )
        for name, mapping in mapped
        if mapping is not None
    ]
    fragments = _fragments(places, optimizer)
    return Partition(places, fragments, fragments, zero.update_lp_params)


def sharded(model: nn.Module, optimizer: Optimizer, zero: Any, world: World) -> Partition:
    """Stage 3. Every parameter is cut into even shares, one a rank, the last ones padded or nothing but padding."""
    parameters: dict[str, Any] = dict(model.named_parameters())
    places = []
    for name, parameter in parameters.items():
        group, start, share = zero.grad_position[zero.get_param_id(parameter)]
        offset = world.rank * share
        length = min(share, parameter.ds_numel - offset)
        if length > 0:
            places.append(FlatSlice(name, offset, zero.fp32_partitioned_groups_flat[group], start, length))

    def refresh() -> None:
        zero._partition_all_parameters()
        for group in range(len(zero.fp16_groups)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        if zero.persistent_parameters:  # small ones, which every rank keeps whole
            zero.persistent_parameters[0].all_gather(zero.persistent_parameters)

    fragments = _fragments(places, optimizer)
    return Partition(places, fragments, fragments, refresh)


def _fragments(places: list[FlatSlice], optimizer: Optimizer) -> list[Fragment]:
    fragments = []
    for name, offset, weights, start, length in places:
        state = ensure_moments(optimizer, weights)
        whole = (weights.detach(), *(state[kind] for kind in MOMENTS))
        fragments.append(Fragment(name, offset, *(tensor.view(-1).narrow(0, start, length) for tensor in whole)))
    return fragments


def _shares(fragments: list[Fragment], world: World) -> Iterator[Fragment]:
    for fragment in fragments:
        start = fragment.numel * world.rank // world.world_size
        length = fragment.numel * (world.rank + 1) // world.world_size - start
        if length:
            yield fragment.narrow(start, length)
