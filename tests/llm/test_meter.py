"""Energy and memory as the driver counts them, or nothing where it cannot be asked."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from llmrs_bench.llm.generate import Meter, Stopwatch


class NVMLError(Exception):
    """What the driver's library raises."""


def driver(*, energy: list[int | None], starts: bool = True) -> ModuleType:
    """Return a stand-in for pynvml with a device for each energy in millijoules; None: it does not count."""
    made = ModuleType("pynvml")

    def read(device: int) -> int:
        if (value := energy[device]) is None:
            raise NVMLError
        return value

    def init() -> None:
        if not starts:
            raise NVMLError

    functions = {
        "NVMLError": NVMLError,
        "nvmlInit": init,
        "nvmlDeviceGetCount": lambda: len(energy),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetTotalEnergyConsumption": read,
        "nvmlDeviceGetMemoryInfo": lambda device: SimpleNamespace(used=(device + 1) * 10**9),
    }
    for name, value in functions.items():
        setattr(made, name, value)
    return made


def test_energy_is_summed_and_memory_is_that_of_the_fullest(monkeypatch: pytest.MonkeyPatch) -> None:
    energy: list[int | None] = [1000, 4000]
    monkeypatch.setitem(sys.modules, "pynvml", driver(energy=energy))
    meter = Meter()
    assert (meter.joules(), meter.memory_gb()) == (5.0, 2.0)
    watch = Stopwatch(meter)
    energy[0] = 3500
    seconds, joules = watch.lap()
    assert joules == 2.5
    assert watch.total == seconds > 0
    assert watch.lap()[1] == 0.0


@pytest.mark.parametrize("found", [driver(energy=[None]), driver(energy=[]), driver(energy=[5], starts=False)])
def test_what_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch, found: ModuleType) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", found)
    assert Meter().joules() is None
    assert Stopwatch(Meter()).lap()[1] is None


def test_without_the_library_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert (Meter().joules(), Meter().memory_gb()) == (None, None)
