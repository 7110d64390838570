"""The whole path to an ARM board, run for real: OpenSSH, and behind it aarch64 under qemu-user.

NAS_SV2_AARCH64 is the command that starts an aarch64 python3 with numpy and onnxruntime, as
`qemu-aarch64 -L SYSROOT ... SYSROOT/usr/bin/python3`. Its times are not latencies.
"""

import os
from pathlib import Path

import pytest
from ssh_server import SshServer

from nas_sv2.latency.devices.open_device import device_at
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.try_out import check_device, preflight

COMMAND = os.environ.get("NAS_SV2_AARCH64", "")
QUICK = MeasurePlan(
    loads=1,
    min_runs=6,
    max_runs=8,
    warmup_runs=1,
    min_block_runs=1,
    block_s=1e-3,
    settle_s=1e-3,
    warmup_limit_s=0.1,
    time_limit_s=0.1,
    noisy_time_limit_s=0.1,
    reference=None,
)


@pytest.mark.slow
@pytest.mark.skipif(not COMMAND, reason="NAS_SV2_AARCH64 names no aarch64 python3")
def test_an_aarch64_python_is_reached_tested_and_measured(
    server: SshServer, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec {COMMAND} "$@"\n')
    python.chmod(0o755)
    host = server.host(str(python))
    found = preflight("board", host, QUICK)
    assert ", aarch64, Linux" in found.python
    assert found.emulated
    device = device_at("board", host)
    checks = {check.name: check for check in check_device(device, QUICK)}
    assert list(checks) == ["python", "agent", "outputs", "measure"]
    assert all(check.passed for check in checks.values()), checks
    assert "its times are not latencies" in checks["python"].text
    assert device.fingerprint(QUICK).facts["machine"] == "aarch64"
    device.close()
