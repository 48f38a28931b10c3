"""What the homework scripts share: image sets, devices, run directories, checkpoints, metrics, figures."""

import importlib.util
import sys
from pathlib import Path


def _interrupted_quietly(kind, error, trace) -> None:
    """Ctrl-C while a script still imports what it needs ends it without a traceback (status 130)."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _interrupted_quietly

import torch  # noqa: E402  takes a second or two


def _declare_torchvision_operators() -> None:
    """Let torchvision be imported beside a CPU torch that cannot load torchvision's compiled operators.

    PyPI's torchvision is built against CUDA torch.  Beside a CPU wheel its extension does not load, and then
    importing torchvision fails with "operator torchvision::nms does not exist": it describes two operators of
    detection models that nobody declared.  Nothing here detects boxes, so declaring their schemas is enough
    for data sets, transforms and utils.  Where the extension does load, it declares them itself.
    """
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
            _torchvision.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_torchvision = torch.library.Library("torchvision", "FRAGMENT")  # the schemas live as long as this object
_declare_torchvision_operators()
