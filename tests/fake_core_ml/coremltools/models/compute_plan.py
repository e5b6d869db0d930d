"""A plan that puts convolutions on the Neural Engine, the rest on the CPU, and constants nowhere.

Of a package of several functions Core ML plans the default one.
"""

import os
from types import SimpleNamespace

from adain_runtime.mil import Package


class MLNeuralEngineComputeDevice:
    pass


class MLCPUComputeDevice:
    pass


class MLComputePlan:
    @classmethod
    def load_from_path(cls, path, compute_units):
        if os.environ.get("FAKE_CORE_ML") == "old":
            raise RuntimeError("MLComputePlan is only available on macOS >= 14.4")
        plan = cls()
        package = Package.open(path)
        functions = package.functions
        plan._planned = {id(operation) for operation in functions[package.default].block.operations}
        plan.model_structure = SimpleNamespace(program=SimpleNamespace(functions=functions))
        return plan

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        if operation.kind == "const" or id(operation) not in self._planned:
            return None
        device = MLNeuralEngineComputeDevice() if operation.kind == "conv" else MLCPUComputeDevice()
        return SimpleNamespace(preferred_compute_device=device)
