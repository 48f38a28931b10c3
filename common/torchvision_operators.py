"""Lets torchvision be imported beside a CPU torch that cannot load torchvision's compiled operators.

PyPI's torchvision is built against CUDA torch.  Beside a CPU wheel its extension does not load, and then
importing torchvision fails with "operator torchvision::nms does not exist": it describes two operators of
detection models that nobody declared.  Nothing here detects boxes, so declaring their schemas is enough for
data sets, transforms and utils.  Where the extension does load, it declares them itself.
"""

import importlib.util
from pathlib import Path

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")  # the schemas live as long as this object


def _declare() -> None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for extension in sorted(Path(spec.origin).parent.glob("_C.*")):
        try:
            torch.ops.load_library(extension)
        except OSError:
            continue
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_declare()
