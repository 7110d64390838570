"""Contract tests for devices, targets and evaluators of your own, and a device without hardware.

A test class of yours that inherits one of these and gives its fixture runs all its tests. They
need pytest.
"""

from nas_sv2.evaluate.fitting.testing import EvaluatorTests
from nas_sv2.latency.devices.testing import DeviceTests, FakeDevice
from nas_sv2.latency.targets.testing import TargetTests

__all__ = ["DeviceTests", "EvaluatorTests", "FakeDevice", "TargetTests"]
