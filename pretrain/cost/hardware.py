"""Devices and their interconnects, from the vendors' data sheets."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.model import PEAK_FLOPS


@dataclass(frozen=True)
class Hardware:
    """One device and its interconnects. Bandwidths are per device and in one direction."""

    name: str
    peak_flops: float  # 16-bit matrix products, dense
    memory_gib: float
    memory_gb_s: float
    node_gb_s: float  # to other devices of the node
    network_gb_s: float  # to other nodes
    per_node: int = 8
    cpu_speed: float = 1.0  # of the core that runs a rank, relative to the one on which `host.py` was measured

    @property
    def is_cpu(self) -> bool:
        """Whether the ranks compute on processor cores."""
        return self.name == "cpu"


# GeForce cards exchange data through host memory, over PCIe twice.
HARDWARE = {
    profile.name: profile
    for profile in (
        Hardware("b200", PEAK_FLOPS["B200"], 167.6, 8000.0, 900.0, 50.0),
        Hardware("h200", PEAK_FLOPS["H200"], 131.0, 4800.0, 450.0, 50.0),
        Hardware("h100", PEAK_FLOPS["H100"], 74.5, 3350.0, 450.0, 50.0),
        Hardware("a100", PEAK_FLOPS["A100"], 74.5, 2039.0, 300.0, 25.0),
        Hardware("a100-40", PEAK_FLOPS["A100"], 37.2, 1555.0, 300.0, 25.0),
        Hardware("v100", PEAK_FLOPS["V100"], 32.0, 900.0, 150.0, 12.5),
        Hardware("l40s", PEAK_FLOPS["L40S"], 44.7, 864.0, 32.0, 25.0),
        Hardware("rtx5090", PEAK_FLOPS["RTX 5090"], 31.8, 1792.0, 32.0, 1.25, per_node=4),
        Hardware("rtx4090", PEAK_FLOPS["RTX 4090"], 24.0, 1008.0, 16.0, 1.25, per_node=4),
        Hardware("cpu", 0.1e12, 8.0, 10.0, 2.0, 1.0, per_node=2),  # one or two cores with 16-bit instructions
    )
}
