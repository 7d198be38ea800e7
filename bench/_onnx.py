"""The networks as ONNX models, and the two runtimes that run them: ONNX Runtime and OpenVINO, both in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench._networks import Network
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU

_OPSET = 17
_IR_VERSION = 9

Call = Callable[[], Any]


def model(network: Network, weights: dict[str, Any], batch: int) -> bytes:
    """The network for ``batch`` images (n, channels, height, width); ``weights`` in channels-first order."""
    nodes, value = [], "x"
    for number, layer, _ in network.shapes():
        inputs, result, options = [value], f"y{number}", {}
        match layer:
            case Conv2D(stride=stride, padding=padding):
                pad = 0 if padding == "valid" else padding
                kind, options = "Conv", {"strides": [stride] * 2, "pads": [pad] * 4}
            case ReLU():
                kind = "Relu"
            case MaxPool2D(pool_size=size):
                kind, options = "MaxPool", {"kernel_shape": [size] * 2, "strides": [size] * 2}
            case AvgPool2D(pool_size=size):
                kind, options = "AveragePool", {"kernel_shape": [size] * 2, "strides": [size] * 2}
            case Flatten():
                kind = "Flatten"
            case Dense():
                kind, options = "Gemm", {"transB": 1}
            case _:
                raise NotImplementedError(f"no ONNX operator for {layer}")
        if f"{number}.weight" in weights:
            inputs += [f"{number}.weight", f"{number}.bias"]
        nodes.append(helper.make_node(kind, inputs, [result], **options))
        value = result
    height, width, channels = network.shape
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, channels, height, width])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [batch, network.classes])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def onnxruntime(model: bytes, x: Any, threads: int) -> Call:
    """A call runs the model on x and returns its output."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def openvino(model: bytes, x: Any, threads: int) -> Call:
    """A call runs the model on x and returns its output. The precision is stated: by itself it may take bfloat16."""
    import openvino as runtime

    options = {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
    }  # fmt: skip
    core = runtime.Core()
    request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]


def runtimes(network: Network, weights: dict[str, Any], x: Any, threads: int) -> Any:
    """({name: (call, first output)}, {name: why it cannot run}) on images in vecgrad's layout."""
    images = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    made = model(network, weights, len(x))
    found: dict[str, tuple[Call, Any]] = {}
    failed: dict[str, str] = {}
    for name, load in (("ONNX Runtime", onnxruntime), ("OpenVINO", openvino)):
        try:
            call = load(made, images, threads)
            found[name] = (call, np.array(call()))
        except ImportError as error:
            failed[name] = str(error)
    return found, failed
