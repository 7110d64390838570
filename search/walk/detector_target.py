"""A target that times the whole detector on a network in place of the network itself.

The whole is backbone, head, decoding and suppression of boxes, as one ONNX file. Its weights are
random, since a latency is known before the training. A target that cannot time it refuses by the
name of an operator; the time of the backbone alone never takes its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.evaluate.detection.detector import DetectorForm
from nas_sv2.evaluate.detection.onnx_detector import untrained_model
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.measurements.fingerprint import TargetIdentity
from nas_sv2.latency.measurements.measurement import Latency, NodeTime, Provenance
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.experiments.network import ExperimentNetwork
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.model_files.model_file import ModelFile
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.onnx_models.model import OnnxModel


@dataclass(frozen=True, slots=True)
class DetectorTarget:
    """Times detectors on backbones; a `Target`.

    Attributes:
        target: The target that runs them.
        form: Head and size of the images.
        classes: Number of categories, without the background.
    """

    target: Target
    form: DetectorForm
    classes: int

    def whole(self, network: Network) -> OnnxModel:
        """Return the whole detector on a network; an ONNX file stays as it is."""
        if isinstance(network, OnnxModel):
            return network
        assert not isinstance(network, ExperimentNetwork | ModelFile), "it has no trunk"
        detector = self.form.on(network, self.classes)
        return untrained_model(detector, f"{self.form} on {network.digest[:8]}")

    def check(self, network: Network) -> None:
        """Refuse a target that cannot time the detector on `network`; nothing is measured.

        Raises:
            ConfigError: The plan of the device runs no such file, or a table has no price of an
                operator.
        """
        model, device = self.whole(network), self.target.device
        try:
            if device is not None:
                payload_of(model, device.plan)
            else:
                self.target.estimate(model)
        except (ConfigError, MeasurementError) as error:
            why = f"{error.field} is {error.value}" if isinstance(error, ConfigError) else error
            allowed = f"must time a detector, one image in float32 by onnxruntime; here {why}"
            raise ConfigError("target", self.name, allowed) from error

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.target.name

    @property
    def provenance(self) -> Provenance:
        """The origin of its latencies."""
        return self.target.provenance

    @property
    def device(self) -> MeasuredDevice | None:
        """The device that runs the detectors."""
        return self.target.device

    @property
    def batch(self) -> int:
        """Images of a run."""
        return self.target.batch

    @property
    def priced_runtime(self) -> str | None:
        """The runtime whose kernels it prices."""
        return self.target.priced_runtime

    def estimate(self, network: Network) -> Latency:
        """Return the latency of the whole detector."""
        return self.target.estimate(self.whole(network))

    def graph_of(self, network: Network) -> Graph:
        """Return the operators of the whole detector, where they are ours."""
        return self.target.graph_of(self.whole(network))

    def kernel_times(self, network: Network) -> Sequence[NodeTime] | None:
        """Time each kernel of the whole detector."""
        return self.target.kernel_times(self.whole(network))

    def operator_shares(self, network: Network) -> Mapping[str, float] | None:
        """Split the time of the whole detector over kinds of operator."""
        return self.target.operator_shares(self.whole(network))

    def uncovered(self, network: Network) -> Sequence[str]:
        """Name the kernels of the whole detector that have no price."""
        return self.target.uncovered(self.whole(network))

    def identity(self) -> TargetIdentity | None:
        """Return the facts that its latencies depend on."""
        return self.target.identity()

    def with_plan(self, **changes: Any) -> Self:
        """Change fields of the plan."""
        return replace(self, target=self.target.with_plan(**changes))

    def corrected(self, reference_ms: float) -> Self:
        """Correct its latencies for drift."""
        return replace(self, target=self.target.corrected(reference_ms))

    def close(self) -> None:
        """Release the device."""
        self.target.close()
