"""The slices of parameters that a rank holds at each ZeRO stage.

DeepSpeed keeps the fp32 master weights and Adam's moments in its own tensors: one per parameter (stage 0); one flat
tensor per parameter group, divided evenly among the ranks, possibly inside a parameter (stages 1 and 2); or one flat
tensor with an even share of every parameter (stage 3). The flat tensors are padded. This module describes all of them
as fragments: views of consecutive elements of one named parameter. Together, the ranks' fragments contain every element
of every parameter; at stage 0 every rank holds all of them.
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
    """Elements `offset`, `offset + 1` … of the flattened parameter `name`, as three one-dimensional fp32 tensors."""

    name: str
    offset: int
    master: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor

    @property
    def numel(self) -> int:
        """The number of elements in this fragment."""
        return self.master.numel()

    def narrow(self, start: int, length: int) -> Fragment:
        """Return the part of `length` elements that begins at this fragment's element `start`."""
        parts = (getattr(self, kind).narrow(0, start, length) for kind in KINDS)
        return Fragment(self.name, self.offset + start, *parts)


@dataclass(frozen=True)
class Partition:
    """A rank's fragments and their places, the fragments that it saves, and how to update the model's weights.

    `refresh` is a collective: it rounds changed master weights to the model's precision and sends them to the ranks
    that use them. Over all ranks, `saved` contains every element of every parameter exactly once.
    """

    places: list[FlatSlice]
    fragments: list[Fragment]
    saved: list[Fragment]
    refresh: Callable[[], None]

    def gradients(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the gradients of the saved fragments as far as their tensors have one, each with the parameter's name.

        The optimizer's tensors have them only while it makes a step; at stage 3 that is one group after another.
        """
        places = {place.name: place for place in self.places}
        for fragment in self.saved:
            _, offset, weights, start, _ = places[fragment.name]
            if weights.grad is not None:
                first = start + fragment.offset - offset
                yield fragment.name, weights.grad.reshape(-1).narrow(0, first, fragment.numel)


def replicated(
    masters: dict[str, Tensor], optimizer: Optimizer, refresh: Callable[[], None], world: World
) -> Partition:
    """Return the partition at stage 0. `masters` are the parameters or fp32 copies; each rank saves an even share."""
    places = [FlatSlice(name, 0, master, 0, master.numel()) for name, master in masters.items()]
    fragments = _fragments(places, optimizer)
    return Partition(places, fragments, list(_shares(fragments, world)), refresh)


def divided(places: list[FlatSlice], optimizer: Optimizer, refresh: Callable[[], None]) -> Partition:
    """Return the partition at stage 1: `places` are this rank's parts of flat buckets of parameters."""
    fragments = _fragments(places, optimizer)
    return Partition(places, fragments, fragments, refresh)


def flat(model: nn.Module, optimizer: Optimizer, zero: Any) -> Partition:
    """Return the partition at stage 2, and at stage 1 where it is DeepSpeed's. `zero` is its optimizer."""
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
        if mapping is not None  # None: this rank holds no element of the parameter
    ]
    return divided(places, optimizer, zero.update_lp_params)


def sharded(model: nn.Module, optimizer: Optimizer, zero: Any, world: World) -> Partition:
    """Return the partition at stage 3: one even share of every parameter per rank, the last ones partly padding."""
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
        zero.invalidate_secondary_tensor()  # the nodes' own partitions, if there are any, hold the weights before
        for group in range(len(zero.fp16_groups)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        if zero.persistent_parameters:  # small parameters, of which every rank keeps all elements
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
