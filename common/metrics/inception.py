"""The Inception network of FID: Inception-v3 as TensorFlow's 2015-12-05 graph computes it, in PyTorch.

Module names are those of pytorch-fid's weight file, and features equal pytorch-fid's up to float32 rounding.
The graph departs from Szegedy et al. (2016) in three places, kept here because every published FID has them:
average pools leave out the padding, the last block pools by maximum, and there are 1008 outputs.

    extractor = Inception(weights_file(), dims=2048)
    extractor(images)                     # uint8 (B, 3, H, W) -> float32 (B, 2048)

Batch normalisation is folded into the convolutions and tensors are channels-last; on the CPU, oneDNN keeps
its own order of the weights, and few images at once stay in the caches: twice pytorch-fid's speed on one
core in float32, features within 7e-7; bfloat16 4.3 times, features within 5e-3, not for published numbers
(benchmarks/inception.py).
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from common import downloads
from common.data.image_set import require_images
from common.errors import InputError

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIDE = 299
HAS_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine().lower() in {"x86_64", "amd64"}
"""Whether oneDNN, which torch calls mkldnn, has convolutions with a ReLU in one pass."""
AT_ONCE = 8
"""Images that go through the network together on the CPU: their activations stay in its caches."""
DIMS = (64, 192, 768, 2048)


class ConvNormReLU(nn.Module):
    """Convolution, batch normalisation, ReLU.  Stride 1 keeps the size unless `padding` says otherwise."""

    by_onednn = False
    """Whether oneDNN runs the folded convolution and the ReLU in one pass; on the CPU only."""
    packed: Tensor | None = None
    """Then the weight in the order that it reads."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride=1, padding=None):
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self._in_one_pass(x, "relu") if self.by_onednn else F.relu(self.affine(x), inplace=True)

    def affine(self, x: Tensor) -> Tensor:
        """Without the ReLU."""
        return self._in_one_pass(x, "none") if self.by_onednn else self.bn(self.conv(x))

    def _in_one_pass(self, x: Tensor, activation: str) -> Tensor:
        """The calls that torch.compile makes too.  The first input tells oneDNN the best order of weights."""
        conv = self.conv
        step = conv.padding, conv.stride, conv.dilation, conv.groups
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *step, x.shape)
        return torch.ops.mkldnn._convolution_pointwise(x, self.packed, conv.bias, *step, activation, [], "")

    def fold(self) -> None:
        """Put the normalisation of evaluation mode into the convolution's weight and bias."""
        bn, weight = self.bn, self.conv.weight.double()
        scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
        self.conv.weight = nn.Parameter((weight * scale[:, None, None, None]).float())
        self.conv.bias = nn.Parameter((bn.bias.double() - bn.running_mean.double() * scale).float())
        self.bn = nn.Identity()


class Mixed(nn.Module):
    """Parallel chains of convolutions and a pool, concatenated along the channels.

    `chains` maps a name to steps (outputs, kernel[, stride, padding]); a list of two steps runs both on the
    same input and concatenates them.  Modules are named as in the weight file: `name` for a chain of one
    step, `name_1`, `name_2`, ... for several, with `a` and `b` after the number where a step is double."""

    def __init__(self, inputs: int, pool: str, chains: dict[str, list]):
        super().__init__()
        self.pool, self.chains = pool, []
        for name, steps in chains.items():
            channels, names = inputs, []
            for number, step in enumerate(steps, start=1):
                parallel = step if isinstance(step, list) else [step]
                numbered = name if len(steps) == 1 else f"{name}_{number}"
                names.append([numbered + letter for letter in ("ab" if len(parallel) == 2 else ("",))])
                for module_name, (outputs, *shape) in zip(names[-1], parallel):
                    self.add_module(module_name, ConvNormReLU(channels, outputs, *shape))
                channels = sum(outputs for outputs, *_ in parallel)
            self.chains.append(names)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._chain(names, x) for names in self.chains], 1)

    def _chain(self, names: list[list[str]], x: Tensor) -> Tensor:
        if names == [["branch_pool"]]:
            return self._pool_branch(x)
        for parallel in names:
            outputs = [getattr(self, name)(x) for name in parallel]
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        return x

    def _pool_branch(self, x: Tensor) -> Tensor:
        if self.pool == "maximum":
            return self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))
        # averaging commutes with a 1 x 1 convolution, which leaves fewer channels to average
        x = F.avg_pool2d(self.branch_pool.affine(x), 3, stride=1, padding=1, count_include_pad=False)
        return F.relu(x, inplace=True)


class Reduction(Mixed):
    """A Mixed block that halves the size: its last branch is a maximum pool without a convolution."""

    def __init__(self, inputs: int, chains: dict[str, list]):
        super().__init__(inputs, "maximum", chains)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), F.max_pool2d(x, 3, stride=2)], 1)


def _mixed_5(inputs: int, pooled: int) -> Mixed:  # 35 x 35
    chains = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
        "branch_pool": [(pooled, 1)],
    }
    return Mixed(inputs, "average", chains)


def _mixed_6(width: int) -> Mixed:  # 17 x 17
    row, column = (1, 7), (7, 1)
    chains = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, row), (192, column)],
        "branch7x7dbl": [(width, 1), (width, column), (width, row), (width, column), (192, row)],
        "branch_pool": [(192, 1)],
    }
    return Mixed(768, "average", chains)


def _mixed_7(inputs: int, pool: str) -> Mixed:  # 8 x 8
    cross = [(384, (1, 3)), (384, (3, 1))]
    chains = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), cross],
        "branch3x3dbl": [(448, 1), (384, 3), cross],
        "branch_pool": [(192, 1)],
    }
    return Mixed(inputs, pool, chains)


STAGES = {
    64: ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "pool"),
    192: ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "pool"),
    768: ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    2048: ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
}
"""Modules up to each number of features."""


class InceptionV3(nn.Module):
    """The network as the weight file has it, including the classifier, which no feature needs."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNormReLU(3, 32, 3, stride=2, padding=0)  # 299 -> 149
        self.Conv2d_2a_3x3 = ConvNormReLU(32, 32, 3, padding=0)  # -> 147
        self.Conv2d_2b_3x3 = ConvNormReLU(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNormReLU(64, 80, 1)  # 73 after a pool
        self.Conv2d_4a_3x3 = ConvNormReLU(80, 192, 3, padding=0)  # -> 71
        self.Mixed_5b = _mixed_5(192, 32)  # 35 after a pool
        self.Mixed_5c = _mixed_5(256, 64)
        self.Mixed_5d = _mixed_5(288, 64)
        down = (3, 2, 0)  # kernel, stride, padding
        self.Mixed_6a = Reduction(
            288, {"branch3x3": [(384, *down)], "branch3x3dbl": [(64, 1), (96, 3), (96, *down)]}
        )
        self.Mixed_6b = _mixed_6(128)
        self.Mixed_6c = _mixed_6(160)
        self.Mixed_6d = _mixed_6(160)
        self.Mixed_6e = _mixed_6(192)
        to_320, to_192 = [(192, 1), (320, *down)], [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, *down)]
        self.Mixed_7a = Reduction(768, {"branch3x3": to_320, "branch7x7x3": to_192})
        self.Mixed_7b = _mixed_7(1280, "average")
        self.Mixed_7c = _mixed_7(2048, "maximum")  # DIFFERS from the paper: TensorFlow's graph has max here
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor, dims: int = 2048) -> Tensor:  # (B, 3, 299, 299) in [-1, 1] -> (B, dims)
        """Spatial means of the activations after the stage that has `dims` channels."""
        for channels, names in STAGES.items():
            for name in names:
                x = F.max_pool2d(x, 3, stride=2) if name == "pool" else getattr(self, name)(x)
            if channels == dims:
                return x.mean((2, 3))
        raise ValueError(f"dims must be one of {DIMS}, not {dims}")

    def fold(self, *, by_onednn: bool = False) -> InceptionV3:
        """Fold every batch normalisation, and leave the convolutions to oneDNN; for evaluation only."""
        for module in list(self.modules()):
            if isinstance(module, ConvNormReLU):
                module.fold()
                module.by_onednn = by_onednn
        return self


class Inception:
    """Extractor: uint8 images of any size -> FID's features."""

    def __init__(
        self, weights: Path, dims: int = 2048, device: torch.device | str = "cpu", precision: str = "fp32"
    ):
        if dims not in DIMS:
            raise InputError(
                f"--dims {dims}: the network has features of {', '.join(map(str, DIMS))} dimensions"
            )
        self.dims, self.device = dims, torch.device(device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.name = f"inception-{dims}"
        network = load_network(weights).eval().requires_grad_(False)
        network.fold(by_onednn=HAS_ONEDNN and self.device.type == "cpu")
        self.network = network.to(self.device, self.dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """uint8 (B, 1 or 3, H, W), or B images (1 or 3, H, W) of any sizes -> float32 (B, dims)."""
        same_size = isinstance(images, Tensor) or len({image.shape for image in images}) == 1
        if same_size:
            x = self._resized(images if isinstance(images, Tensor) else torch.stack(list(images)))
        else:
            x = torch.cat([self._resized(image[None]) for image in images])
        # TF32 would move published numbers in their fourth digit
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            parts = x.split(AT_ONCE if self.device.type == "cpu" else len(x))
            return torch.cat([self.network(part, self.dims) for part in parts]).float()

    def _resized(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, 3, 299, 299) in [-1, 1]
        x = require_images(images).to(self.device).expand(-1, 3, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.interpolate(x.float().div_(255), (SIDE, SIDE), mode="bilinear", align_corners=False)
        return x.mul_(2).sub_(1).to(self.dtype)


def weights_file(weights: Path | None = None, *, download: bool = False) -> Path:
    """The weight file: `weights`, or the place in torch's cache where pytorch-fid keeps it too.

    Nothing is fetched unless `download` asks for it.  InputError when the file is not there.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME if weights is None else Path(weights)
    if download and not path.exists():
        downloads.fetch(path, URL, SHA256, otherwise="fetch it by other means and name it with --weights")
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; add --download (96 MB), or name a copy of {FILE_NAME} with --weights"
        )
    return path


def is_published(path: Path) -> bool:
    """Whether `path` holds the weights that published FIDs use."""
    return downloads.digest_of(path) == SHA256


def load_network(path: Path) -> InceptionV3:
    """The network with the weights of `path`.  InputError when the file is another one or damaged."""
    what_to_do = f"expected {FILE_NAME}; fetch it with --download or name it with --weights"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is cut off, or no weights at all
        raise InputError(
            f"{path}: cannot be read as PyTorch weights ({type(error).__name__}); {what_to_do}"
        ) from error
    with torch.device("meta"):
        network = InceptionV3()
    expected = {name: tensor for name, tensor in network.state_dict().items() if not _is_counter(name)}
    problem = (
        _difference(expected, state) if isinstance(state, dict) else f"a {type(state).__name__}, not a dict"
    )
    if problem:
        raise InputError(f"{path}: not the weights of FID's Inception: {problem}; {what_to_do}")
    network.load_state_dict({name: state[name].float() for name in expected}, strict=False, assign=True)
    return network


def _difference(expected: dict[str, Tensor], found: dict) -> str:
    """In which keys a state dict is not the expected one; empty when it is."""
    kinds = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected and not _is_counter(str(name))],
        "of another shape": [
            name
            for name in expected
            if name in found and getattr(found[name], "shape", None) != expected[name].shape
        ],
        # looked for here, since a ReLU of oneDNN makes 0 of NaN
        "with NaN or infinite values": [
            name
            for name in expected
            if isinstance(found.get(name), Tensor) and not found[name].isfinite().all()
        ],
    }
    return ", ".join(
        f"{len(names)} {kind} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for kind, names in kinds.items()
        if names
    )


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")  # of training; folding drops it
