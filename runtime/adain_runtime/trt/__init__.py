"""TensorRT and TensorRT for RTX: building engines from ONNX, and running them."""
