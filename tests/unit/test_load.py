"""The load of a process is measured only while somebody asks."""

from __future__ import annotations

import pytest

from marketdata.load import MEASURED_S, LoadMeter


class Machine:
    """A clock, and the CPU time of a process."""

    now = 100.0
    used_s = 5.0

    def work(self, seconds: float, load: float) -> None:
        self.now += seconds
        self.used_s += seconds * load


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def meter(machine: Machine) -> LoadMeter:
    return LoadMeter(clock=lambda: machine.now, cpu=lambda: machine.used_s)


def test_a_new_process_has_no_load(meter: LoadMeter) -> None:
    assert meter.read() == 0


def test_a_steady_load_is_found(machine: Machine, meter: LoadMeter) -> None:
    for _ in range(20):
        machine.work(MEASURED_S, 0.4)
        load = meter.read()
    assert load == pytest.approx(0.4, abs=0.001)


def test_a_short_time_says_nothing(machine: Machine, meter: LoadMeter) -> None:
    machine.work(MEASURED_S / 2, 1.0)
    assert meter.read() == 0


def test_a_long_pause_is_an_idle_time(machine: Machine, meter: LoadMeter) -> None:
    for _ in range(20):
        machine.work(MEASURED_S, 1.0)
        meter.read()
    machine.work(60, 0.0)
    meter.read()
    machine.work(60, 0.0)
    assert meter.read() < 0.3
