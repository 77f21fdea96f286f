"""The services' units: confined by systemd's own measure, watched, and started again after a failure."""

import subprocess
from pathlib import Path

import pytest

from arcgate.control.packages.installer import data_text

UNITS = ("himdsd.service", "arcproxyd.service")
HIGHEST_EXPOSURE = 30
"""Ten times the score of `systemd-analyze security` that a unit may have."""


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_calls_the_exposure_of_the_services_low(tmp_path: Path, unit: str) -> None:
    file = tmp_path / unit
    file.write_text(data_text(unit))
    command = (
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={HIGHEST_EXPOSURE}",
        str(file),
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", [*UNITS, "extd.service"])
def test_a_service_that_hangs_or_fails_is_started_again_for_ever(unit: str) -> None:
    lines = data_text(unit).splitlines()
    assert {"Type=notify", "WatchdogSec=60", "Restart=on-failure", "StartLimitIntervalSec=0"} <= set(lines)
