"""A private Slurm cluster with a network: each node has its own namespace, and a bridge connects all nodes.

So each node has a name, an address and a link that can be cut. Needs root and `ip`; leaves nothing behind.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

from tests.distributed.slurm_cluster import SEARCH_PATH, SlurmCluster

SUBNET = "10.213.77"


def why_not() -> str:
    """Return what is missing to start such a cluster here, or an empty string."""
    if missing := next((name for name in ("ip", "nsenter", "unshare") if not shutil.which(name, path=SEARCH_PATH)), ""):
        return f"no {missing}; install it with: apt-get install iproute2 util-linux"
    argv = ["unshare", "--net", "--uts", "--mount", "ip", "link", "add", "probe", "type", "bridge"]
    env = {**os.environ, "PATH": SEARCH_PATH}
    is_allowed = subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0
    return "" if is_allowed else "network namespaces are not allowed here"


class NetworkedCluster(SlurmCluster):
    """A `SlurmCluster` whose nodes have their own names, addresses and links."""

    address = f"{SUBNET}.1"

    def __init__(self, nodes: int, kill_wait_s: int = 5) -> None:
        super().__init__(nodes, kill_wait_s)
        self.bridge = f"br{os.getpid()}"

    def cut(self, node: str) -> None:
        """Cut the node's link. The node keeps running but is unreachable."""
        self._ip("link", "set", self._link(node), "down")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for node in self.nodes:
            self._ip("netns", "delete", self._space(node), check=False)
        self._ip("link", "delete", self.bridge, check=False)

    def _configure(self) -> None:
        self._ip("link", "add", self.bridge, "type", "bridge")
        self._ip("address", "add", f"{self.address}/24", "dev", self.bridge)
        self._ip("link", "set", self.bridge, "up")
        for node in self.nodes:
            self._connect(node)
        hosts = [f"{self._address_of(node)} {node}" for node in self.nodes]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *hosts, ""]))
        super()._configure()

    def _connect(self, node: str) -> None:
        space, link = self._space(node), self._link(node)
        self._ip("netns", "add", space)
        self._ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        self._ip("link", "set", link, "master", self.bridge, "up")
        self._ip("-n", space, "address", "add", f"{self._address_of(node)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip("-n", space, "link", "set", device, "up")

    def _slurmd(self, node: str) -> list[str]:
        """Return slurmd's command under the node's name, with names for the others; `ip netns exec` hides cgroups."""
        inside = f"hostname {node}; mount --bind {self.folder}/hosts /etc/hosts; exec "
        inside += shlex.join(super()._slurmd(node))
        unshared = ["unshare", "--uts", "--mount", "--propagation", "private", "sh", "-c", inside]
        return ["nsenter", f"--net=/run/netns/{self._space(node)}", *unshared]

    def _place_of(self, node: str) -> str:
        return f"NodeHostname={node} NodeAddr={self._address_of(node)}"

    def _address_of(self, node: str) -> str:
        return f"{SUBNET}.{10 + int(node[1:])}"

    def _space(self, node: str) -> str:
        return f"{self.bridge}-{node}"

    def _link(self, node: str) -> str:
        return f"v{node}-{os.getpid()}"

    def _ip(self, *arguments: str, check: bool = True) -> None:
        done = subprocess.run(["ip", *arguments], env=self.env, capture_output=True, text=True, check=False)
        if check and done.returncode:
            sys.stderr.write(done.stderr)
            raise OSError(done.returncode, f"ip {shlex.join(arguments)}")
