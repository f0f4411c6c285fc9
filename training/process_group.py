"""How Lightning learns what `launch` has read, and how its strategies bring the processes together (`rendezvous`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from text2latent.common.launch import LAUNCH_MINUTES, Launch
from text2latent.common.rendezvous import join_processes


class LaunchedProcesses(ClusterEnvironment):
    """The processes that a launcher has started.

    Args:
        launch: what it says, with an address.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        assert launch.address is not None
        self.launch, self._address = launch, launch.address

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._address[0]

    @property
    def main_port(self) -> int:
        return self._address[1]

    @staticmethod
    def detect() -> bool:
        """False: Lightning is given this environment, and not to choose it by itself."""
        return False

    def world_size(self) -> int:
        return self.launch.processes

    def set_world_size(self, size: int) -> None:
        """The launcher has set it."""

    def global_rank(self) -> int:
        return self.launch.rank

    def set_global_rank(self, rank: int) -> None:
        """The launcher has set it."""

    def local_rank(self) -> int:
        return self.launch.local_rank

    def node_rank(self) -> int:
        return self.launch.rank // self.launch.devices


@dataclass(frozen=True)
class Meeting:
    """How processes come together.

    Attributes:
        minutes: to wait for each other.
        announce: gets a line when some take their time.
    """

    minutes: float = LAUNCH_MINUTES
    announce: Callable[[str], None] = lambda line: None


class MeetingProcesses:
    """Mixed into a strategy: the processes come together as `join_processes` has it, before Lightning would try."""

    def __init__(self, meeting: Meeting, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.meeting = meeting

    def setup_environment(self: Any) -> None:
        """Choose the device, meet, and go on as usual."""
        self.accelerator.setup_device(self.root_device)
        self.set_world_ranks()
        cluster, backend = self.cluster_environment, self._get_process_group_backend()
        address, device = (cluster.main_address, cluster.main_port), self.root_device
        join_processes(
            cluster.global_rank(),
            cluster.world_size(),
            address,
            self.meeting.minutes,
            backend,
            None if device.type == "cpu" else device,
            self.meeting.announce,
        )
        super().setup_environment()  # type: ignore[misc]


class MeetingStrategy(MeetingProcesses, DDPStrategy):
    """Each process has the whole network, and gradients are averaged."""
