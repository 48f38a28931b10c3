"""Small networks trained in this course whose features give Fréchet distances where Inception's mean little.

    extractor = extractors.load_extractor("mnist")
    extractors.frechet(extractor, generated, test)     # eval/fd_mnist_10k: see `metric_name`
    extractor.predict(generated)["label"]              # int64 (N,): a classifier that never saw these images

There is one for each of digits, mnist, fashion-mnist, avatars and creatures, named after the data it was
trained on, as `pretrained/NAME.safetensors`; the card beside it says how it was trained and what it reaches.
Features are the activations of the penultimate layer after its ReLU.

The convention: as many generated images as the test split has (or its first N) against those test images,
eq. (metrics.7).  The value depends on the network: it compares models on the same data by the same extractor
and the same N, it is in other units than published FID and not comparable with it, and the distance of real
training images, written in the card, is the floor.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from common import tensor_files
from common.data import ImageSet, to_model_range, to_uint8
from common.errors import InputError
from common.metrics.frechet import Moments, Statistics, distance

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

NAMES = ("digits", "mnist", "fashion-mnist", "avatars", "creatures")
"""Data sets that have an extractor of their own."""
FOLDER = Path(__file__).resolve().parents[2] / "pretrained"
BATCH_SIZE = 500


@dataclass(frozen=True)
class Architecture:
    """What a weight file says about its network."""

    shape: tuple[int, int, int]
    """(C, H, W) of the images."""
    layers: tuple[tuple[int, int], ...]
    """Channels and stride of each 3 x 3 convolution."""
    features: int
    """D, the width of the penultimate layer."""
    heads: dict[str, tuple[str, ...]]
    """What is told apart, each with the names of its options: `label`, or attributes of an image set."""

    @staticmethod
    def from_json(text: str) -> Architecture:
        """The inverse of json.dumps(asdict(architecture))."""
        known = json.loads(text)
        return Architecture(
            tuple(known["shape"]),
            tuple((int(channels), int(stride)) for channels, stride in known["layers"]),
            int(known["features"]),
            {name: tuple(options) for name, options in known["heads"].items()},
        )


class Network(nn.Module):
    """Convolutions, one dense layer whose activations are the features, and one linear head for each
    question."""

    def __init__(self, architecture: Architecture, *, normalised: bool):
        super().__init__()
        self.architecture = architecture
        channels, height, width = architecture.shape
        layers: list[nn.Module] = []
        for out, stride in architecture.layers:
            layers.append(nn.Conv2d(channels, out, 3, stride, padding=1, bias=not normalised))
            layers += [nn.BatchNorm2d(out), nn.ReLU()] if normalised else [nn.ReLU()]
            channels, height, width = out, -(-height // stride), -(-width // stride)
        dense = nn.Linear(channels * height * width, architecture.features)
        self.body = nn.Sequential(*layers, nn.Flatten(), dense, nn.ReLU())
        self.heads = nn.Linear(architecture.features, sum(map(len, architecture.heads.values())))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) in [-1, 1] -> (B, D)
        return self.body(images)

    def logits(self, features: Tensor) -> dict[str, Tensor]:  # (B, D) -> (B, options) for each head
        heads = self.architecture.heads
        return dict(zip(heads, self.heads(features).split([len(options) for options in heads.values()], 1)))

    def folded(self) -> Network:
        """The same function without batch normalisation: its running statistics go into the convolutions."""
        plain = Network(self.architecture, normalised=False).eval()
        pick = lambda network, kind: [layer for layer in network.body if isinstance(layer, kind)]
        convolutions, norms = pick(self.eval(), nn.Conv2d), pick(self, nn.BatchNorm2d)
        for target, convolution, norm in zip(pick(plain, nn.Conv2d), convolutions, norms):
            target.load_state_dict(fuse_conv_bn_eval(convolution, norm).state_dict())
        pick(plain, nn.Linear)[0].load_state_dict(pick(self, nn.Linear)[0].state_dict())
        plain.heads.load_state_dict(self.heads.state_dict())
        return plain


class Extractor:
    """A trained network: images -> features and answers, in float32 without gradients."""

    def __init__(self, name: str, network: Network, *, sha256: str = "", device: torch.device | str = "cpu"):
        self.name, self.device = name, torch.device(device)
        self.label = f"{name}-{sha256[:8]}"
        """Which weights made the features; statistics of two labels are not compared."""
        network = network.float().eval().requires_grad_(False)
        self.network = network.to(self.device, memory_format=torch.channels_last)

    @property
    def dimension(self) -> int:
        """D."""
        return self.network.architecture.features

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images it reads."""
        return self.network.architecture.shape

    @property
    def options(self) -> dict[str, tuple[str, ...]]:
        """The questions it answers, each with the names of the options: what `predict` indexes."""
        return self.network.architecture.heads

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """uint8 or float [-1, 1] (B, C, H, W) -> float32 (B, D).

        Floats are rounded to grey levels first: images have the same features before and after saving.
        InputError for another shape, NaN or values outside [-1, 1].
        """
        x = to_model_range(self._checked(images).to(self.device))
        # TF32 would make the features depend on the kind of GPU
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.network(x.contiguous(memory_format=torch.channels_last))

    __call__ = features

    @torch.inference_mode()
    def predict(self, images: Tensor, confidence: float = 0.0) -> dict[str, Tensor]:
        """The likeliest option of each head, int64 (B,); -1 where its probability is below `confidence`.

        0.9 recognises everything in 99.8 % of drawn avatars, and in 17 % after a mean filter of 5 x 5.
        """
        return self.answers(self.features(images), confidence)

    @torch.inference_mode()
    def answers(self, features: Tensor, confidence: float = 0.0) -> dict[str, Tensor]:
        """What `predict` says of images whose features (B, D) are known."""
        answers = {}
        for name, logits in self.network.logits(features.to(self.device)).items():
            probability, option = logits.softmax(1).max(1)
            answers[name] = torch.where(probability >= confidence, option, -1)
        return answers

    def moments(self, features: Tensor) -> Moments:
        """Mean and covariance of known features (N, D), to compare with those of other images."""
        return Statistics.of(features, features=self.label).moments()

    def classify(self, images: Tensor) -> Tensor:
        """`predict` of an extractor with a single head: int64 (B,)."""
        (answer,) = self.predict(images).values()
        return answer

    def _checked(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            C, H, W = self.shape
            raise InputError(
                f"extractor {self.name}: reads images (B, {C}, {H}, {W}), got {tuple(images.shape)}; "
                "bring them to this size, or use the extractor of your data"
            )
        if images.dtype == torch.uint8:
            return images
        if not images.is_floating_point():
            raise InputError(
                f"extractor {self.name}: images of {images.dtype}; give uint8 or float in [-1, 1]"
            )
        if images.numel() and not (images.min() >= -1.001 and images.max() <= 1.001):  # false for NaN too
            raise InputError(
                f"extractor {self.name}: float images from {images.min().item():.4g} to "
                f"{images.max().item():.4g}; they must lie in [-1, 1]"
            )
        return to_uint8(images)


def load_extractor(name: str, device: torch.device | str = "cpu") -> Extractor:
    """The extractor shipped for the data set `name`.  InputError where there is none."""
    if name not in NAMES:
        raise InputError(f"extractor {name!r}: there are {', '.join(NAMES)}; other data have none")
    return read_extractor(FOLDER / f"{name}.safetensors", device)


def read_extractor(path: Path, device: torch.device | str = "cpu") -> Extractor:
    """The extractor in a file of `write_extractor`: numbers and names, never code."""
    path = Path(path)
    train = f"train one with python pretrained/train_extractor.py --data {path.stem}"
    if not path.is_file():
        raise InputError(f"{path}: no such file; {train}")
    try:
        with safe_open(path, framework="pt") as file:
            architecture = Architecture.from_json(file.metadata()["architecture"])
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  not a dict
        with torch.device("meta"):
            network = Network(architecture, normalised=False)
        network.load_state_dict(tensors, assign=True)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not the weights of an extractor ({reason}); {train}") from error
    return Extractor(path.stem, network, sha256=file_sha256(path), device=device)


def write_extractor(path: Path, network: Network) -> None:
    """Fold the normalisation away and write float16 weights beside the architecture."""
    plain = network.folded()
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in plain.state_dict().items()}
    tensor_files.write(
        path,
        tensors,
        {"architecture": json.dumps(asdict(plain.architecture))},
        advice="free some space or choose another place",
    )


def file_sha256(path: Path) -> str:
    """What sha256sum prints."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def features_of(
    images: ImageSet | Tensor, extractor: Extractor, batch_size: int = BATCH_SIZE
) -> Tensor:  # float32 (N, D) on the CPU
    """Features of any number of images."""
    return torch.cat([extractor.features(part).cpu() for part in _parts(images, batch_size)])


def predictions_of(
    images: ImageSet | Tensor, extractor: Extractor, confidence: float = 0.0, batch_size: int = BATCH_SIZE
) -> dict[str, Tensor]:
    """`Extractor.predict` of any number of images: int64 (N,) for each head, on the CPU."""
    answers = [extractor.predict(part, confidence) for part in _parts(images, batch_size)]
    return {name: torch.cat([answer[name].cpu() for answer in answers]) for name in extractor.options}


def moments_of(images: ImageSet | Tensor, extractor: Extractor, batch_size: int = BATCH_SIZE) -> Moments:
    """Mean and covariance of the features, streamed: compute those of a test set once, compare often."""
    features = (extractor.features(part) for part in _parts(images, batch_size))
    return Statistics.of(features, features=extractor.label).moments()


def frechet(extractor: Extractor, images: ImageSet | Tensor, reference: ImageSet | Tensor | Moments) -> float:
    """Fréchet distance of the features of `images` to those of `reference`, eq. (metrics.7).

    With `reference` the N test images and N generated `images`: `metric_name(extractor.name, N)`.  For its
    standard error see `spread.jackknife` with `frechet_distance_from_features` and `features_of`.
    """
    if not isinstance(reference, Moments):
        reference = moments_of(reference, extractor)
    return distance(moments_of(images, extractor), reference)


def metric_name(extractor: str, count: int) -> str:
    """`eval/fd_mnist_10k` for mnist and 10,000 images: the name carries the extractor and N."""
    number = f"{count // 1000}k" if count >= 1000 and count % 1000 == 0 else str(count)
    return f"eval/fd_{extractor.replace('-', '_')}_{number}"


def _parts(images: ImageSet | Tensor, batch_size: int) -> tuple[Tensor, ...]:
    images = images.images if isinstance(images, ImageSet) else images
    if len(images) == 0:
        raise InputError("extractor: no images; give at least one")
    return images.split(batch_size)
