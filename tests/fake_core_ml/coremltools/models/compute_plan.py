"""A plan that puts convolutions on the Neural Engine, the rest on the CPU, and constants nowhere."""

from types import SimpleNamespace

from adain_runtime.mil import Package


class MLNeuralEngineComputeDevice:
    pass


class MLCPUComputeDevice:
    pass


class MLComputePlan:
    @classmethod
    def load_from_path(cls, path, compute_units):
        plan = cls()
        functions = Package.open(path).functions
        plan.model_structure = SimpleNamespace(program=SimpleNamespace(functions=functions))
        return plan

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        if operation.kind == "const":
            return None
        device = MLNeuralEngineComputeDevice() if operation.kind == "conv" else MLCPUComputeDevice()
        return SimpleNamespace(preferred_compute_device=device)
