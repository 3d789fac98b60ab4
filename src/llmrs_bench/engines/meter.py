"""What a device spends: energy and memory as NVIDIA's driver counts them, where there is such a device."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Meter:
    """Reads energy and memory of all visible NVIDIA GPUs; every reading is None where there is none.

    Energy is that of whole devices, whoever else uses them (`nvmlDeviceGetTotalEnergyConsumption`).
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        self._devices: list[Any] = []
        with suppress(ImportError):  # nvidia-ml-py comes with vLLM for GPUs; without it there is nothing to read
            import pynvml

            with suppress(pynvml.NVMLError):
                pynvml.nvmlInit()
                self._nvml = pynvml
                self._devices = [
                    pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
                ]

    def joules(self) -> float | None:
        """Return the energy that the devices have used since their driver was loaded."""
        readings = [self._read(self._nvml.nvmlDeviceGetTotalEnergyConsumption, device) for device in self._devices]
        known = [reading for reading in readings if reading is not None]
        return sum(known) / 1000 if known else None  # millijoules

    def memory_gb(self) -> float | None:
        """Return the memory in use on the fullest device, in GB."""
        readings = [self._read(self._nvml.nvmlDeviceGetMemoryInfo, device) for device in self._devices]
        return max((reading.used / 1e9 for reading in readings if reading is not None), default=None)

    def _read(self, question: Any, device: Any) -> Any:
        try:
            return question(device)
        except self._nvml.NVMLError:  # older devices do not count energy
            return None


class Stopwatch:
    """Measures the time and the energy that answers take, lap by lap; what happens before `start` does not count.

    Args:
        meter: Reads the energy.
        clock: Seconds that never go back.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self.total = 0.0  # seconds of all laps
        self._meter = meter
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Begin a lap."""
        self._mark, self._joules = self._clock(), self._meter.joules()

    def lap(self) -> tuple[float, float | None]:
        """End a lap and begin the next; return its seconds, and its joules where they can be read."""
        seconds, before = self._clock() - self._mark, self._joules
        self.total += seconds
        self.start()
        return seconds, None if before is None or self._joules is None else self._joules - before
