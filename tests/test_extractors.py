"""The small extractors: what is shipped, what they reach, and what their distances measure."""

import pickle
import re
import shlex
from dataclasses import replace
from pathlib import Path

from common import checkpoints, command_line, data, runs
from common.data import avatars, creatures, digits, to_model_range
from common.errors import InputError, Stopped
from common.metrics import extractors
from common.metrics.attributes import validity
from common.metrics.frechet import frechet_distance_from_features

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from pretrained import extractor_card, train_extractor
from pretrained.train_extractor import Config

ARCHITECTURE = extractors.Architecture(
    (3, 10, 13), ((4, 2), (6, 1), (5, 2)), 7, {"hair": ("none", "long"), "hat": ("red", "green", "blue")}
)
TELLING = {  # data: images of the test split, accuracy of every head on them
    "digits": (500, 0.98),
    "avatars": (200, 0.985),
    "creatures": (400, 0.98),
    "mnist": (1000, 0.985),
    "fashion-mnist": (1000, 0.89),
}


def random_network() -> extractors.Network:
    """An untrained network whose batch normalisations have seen something."""
    torch.manual_seed(0)
    network = extractors.Network(ARCHITECTURE, normalised=True)
    for _ in range(3):
        network(torch.randn(8, 3, 10, 13) + 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def digits_extractor():
    return extractors.load_extractor("digits")


@pytest.fixture(scope="module")
def images():
    """uint8 (1000, 1, 28, 28)."""
    return digits.draw_set("test", count=1000).images


# ---- what is shipped


@pytest.mark.parametrize("name", extractors.NAMES)
def test_file_and_card_belong_together(name):
    path = extractors.FOLDER / f"{name}.safetensors"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert path.stat().st_size <= 800_000
    assert f"SHA-256: `{extractors.file_sha256(path)}`" in card
    assert not re.search(r"(^|[\s`])/\w|[A-Z]:\\", card), "a path of some machine"
    extractor = extractors.load_extractor(name)
    assert f"Its {extractor.dimension} penultimate activations" in card
    for head, options in extractor.options.items():
        share = re.search(rf"^\| {head} \| {len(options)} \| [\d.]+ \| ([\d.]+) \(", card, re.MULTILINE)
        assert float(share[1]) >= 100 * TELLING[name][1]


@pytest.mark.parametrize("name", extractors.NAMES)
def test_the_command_on_the_card_is_one(name):
    card = (extractors.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    words = shlex.split(re.search(r"Command: `(.+)`", card)[1])
    assert words[:2] == ["python", "pretrained/train_extractor.py"]
    assert command_line.parse(Config, words[2:]).data == name


@pytest.mark.parametrize("name", TELLING)
def test_shipped_weights_are_accurate_on_test_images(name, request):
    count, bound = TELLING[name]
    if name in data.DRAWN:
        module = {"digits": digits, "avatars": avatars, "creatures": creatures}[name]
        test = module.draw_set("test", module.DEFAULT_SIZE, count, seed=0)
    else:
        test = data.load(name, "test", count=count, data_dir=request.getfixturevalue("real_data"))
    extractor = extractors.load_extractor(name)
    accuracy = train_extractor.accuracy(extractor, test)
    assert accuracy.keys() == extractor.options.keys()
    assert min(accuracy.values()) >= bound, accuracy


def test_heads_answer_in_the_order_of_the_options():
    options = extractors.load_extractor("avatars").options
    assert options == {**avatars.STYLE_OPTIONS, "expression": avatars.EXPRESSIONS}
    options = extractors.load_extractor("creatures").options
    assert options == {name: names for name, names in creatures.OPTIONS.items() if name != "pattern"}


# ---- features and answers


def test_folding_the_normalisation_away_changes_nothing(tmp_path):
    network = random_network()
    x = torch.rand(3, 3, 10, 13) * 2 - 1
    expected = network(x)
    assert expected.shape == (3, 7)
    assert (network.folded()(x) - expected).abs().max() < 1e-5  # float32 rounding
    extractors.write_extractor(tmp_path / "some.safetensors", network)
    read = extractors.read_extractor(tmp_path / "some.safetensors")
    assert read.network.architecture == ARCHITECTURE
    # float16 weights: half a unit in the 11th bit
    assert (read.network(x) - expected).abs().max() < 1e-2 * expected.abs().max()


def test_features_do_not_depend_on_batches_or_on_the_images_type(digits_extractor, images):
    whole = extractors.features_of(images[:50], digits_extractor)
    assert whole.shape == (50, digits_extractor.dimension)
    assert whole.dtype == torch.float32
    assert whole.min() >= 0  # after the ReLU
    parts = extractors.features_of(images[:50], digits_extractor, batch_size=7)
    assert (parts - whole).abs().max() < 1e-4 * whole.max()
    assert torch.equal(digits_extractor(to_model_range(images[:50])), digits_extractor(images[:50]))


def test_predictions(digits_extractor, images):
    certain = extractors.predictions_of(images, digits_extractor, confidence=0.999)["label"]
    always = extractors.predictions_of(images, digits_extractor)["label"]
    assert torch.equal(always[:20], digits_extractor.classify(images[:20]))
    assert torch.equal(certain[certain >= 0], always[certain >= 0])
    assert 0.5 < (certain >= 0).double().mean() < 1
    assert always.min() >= 0


def test_validity_of_avatars_falls_with_blur():
    extractor = extractors.load_extractor("avatars")
    portraits = avatars.draw_set("test", 64, 100, seed=0).images
    small = F.avg_pool2d(portraits.float(), 8)
    blurred = F.interpolate(small, scale_factor=8, mode="bilinear").round().to(torch.uint8)
    share = lambda images: validity(extractors.predictions_of(images, extractor, confidence=0.9))
    assert share(portraits) >= 0.97
    assert share(blurred) < 0.3


# ---- distances


def test_metric_names():
    assert extractors.metric_name("mnist", 10_000) == "eval/fd_mnist_10k"
    assert extractors.metric_name("fashion-mnist", 1000) == "eval/fd_fashion_mnist_1k"
    assert extractors.metric_name("digits", 2500) == "eval/fd_digits_2500"


def test_distance_is_that_of_the_features(digits_extractor, images):
    first, second = images[:400], images[400:1000]
    value = extractors.frechet(digits_extractor, first, second)
    direct = frechet_distance_from_features(
        extractors.features_of(first, digits_extractor), extractors.features_of(second, digits_extractor)
    )
    assert value == pytest.approx(direct, rel=1e-5)
    reference = extractors.moments_of(second, digits_extractor)
    assert extractors.frechet(digits_extractor, first, reference) == value
    assert extractors.frechet(digits_extractor, second, reference) < 1e-6 * value


def test_distance_grows_with_noise_and_with_blur(digits_extractor, images):
    real, other = images[:500], images[500:].float()
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(0))
    reference = extractors.moments_of(real, digits_extractor)
    distance = lambda changed: extractors.frechet(
        digits_extractor, changed.round().clamp(0, 255).to(torch.uint8), reference
    )
    floor = distance(other)
    noisy = [distance(other + strength * noise) for strength in (20, 40, 80, 160)]
    blurred = [distance(F.avg_pool2d(other, side, 1, side // 2)) for side in (3, 5, 7, 9)]
    for values in (noisy, blurred):
        assert floor < values[0]
        assert values == sorted(values)
        assert values[-1] > 10 * floor


# ---- mistakes


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match=r"'wells': there are digits, .*, creatures"):
        extractors.load_extractor("wells")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 28, 28), r"reads images \(B, 1, 28, 28\), got \(2, 3, 28, 28\)"),
        (torch.zeros(28, 28), r"got \(28, 28\)"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.int64), "int64"),
        (torch.full((2, 1, 28, 28), 255.0), "from 255 to 255"),
        (torch.full((2, 1, 28, 28), torch.nan), "nan"),
    ],
)
def test_unusable_images_are_named(digits_extractor, images, message):
    with pytest.raises(InputError, match=message) as caught:
        digits_extractor.features(images)
    assert "\n" not in str(caught.value)


def test_no_images_at_all(digits_extractor, images):
    with pytest.raises(InputError, match="no images"):
        extractors.features_of(images[:0], digits_extractor)


def test_statistics_of_other_weights_are_refused(digits_extractor, images):
    reference = extractors.moments_of(images[:200], digits_extractor)
    other = extractors.Extractor("digits", digits_extractor.network, sha256="another")
    with pytest.raises(InputError, match="cannot be compared"):
        extractors.frechet(other, images[:200], reference)


class Marker:
    """Unpickling it would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_only_numbers_are_read(tmp_path, digits_extractor):
    shipped = (extractors.FOLDER / "digits.safetensors").read_bytes()
    files = {name: tmp_path / f"{name}.safetensors" for name in ("code", "cut", "plain")}
    files["code"].write_bytes(pickle.dumps(Marker(tmp_path / "executed")))
    files["cut"].write_bytes(shipped[: len(shipped) // 2])
    save_file({"weight": torch.zeros(3)}, files["plain"])
    for path in files.values():
        with pytest.raises(InputError, match="not the weights of an extractor") as caught:
            extractors.read_extractor(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()
    with pytest.raises(InputError, match="no such file"):
        extractors.read_extractor(tmp_path / "digits.safetensors")


# ---- the trainer


@pytest.fixture(scope="module")
def few_digits():
    """Three hundred training images and little else, instead of 20,000."""
    counts = {"train": 300, "val": 100, "test": 200}
    few = lambda name, split, count, data_dir: digits.draw_set(split, count=counts[split])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_extractor.data, "load", few)
        yield


@pytest.fixture(scope="module")
def short_run(few_digits, tmp_path_factory):
    """The flags of a short run, and its directory."""
    config = Config(epochs=2, batch_size=50, outdir=tmp_path_factory.mktemp("runs"), device="cpu")
    return config, train_extractor.main(config)


def test_augmented_images_are_moved_and_mirrored_copies():
    torch.manual_seed(0)
    images = torch.arange(2 * 3 * 6 * 7, dtype=torch.float32).view(2, 3, 6, 7)
    assert torch.equal(train_extractor.augmented(images, 0, mirror=False), images)
    both = {
        torch.equal(train_extractor.augmented(images, 0, mirror=True)[0], images[0].flip(-1))
        for _ in range(20)
    }
    assert both == {True, False}
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    crops = [padded[:, :, y : y + 6, x : x + 7] for y in range(3) for x in range(3)]
    seen = set()
    for _ in range(100):
        for row, moved in enumerate(train_extractor.augmented(images, 1, mirror=False)):
            (which,) = [k for k, crop in enumerate(crops) if torch.equal(crop[row], moved)]
            seen.add(which)
    assert seen == set(range(9))


def test_a_run_writes_weights_and_their_card(short_run):
    _, folder = short_run
    extractor = extractors.read_extractor(folder / "digits.safetensors")
    assert extractor.shape == (1, 28, 28)
    card = (folder / "digits.md").read_text(encoding="utf-8")
    assert extractors.file_sha256(folder / "digits.safetensors") in card
    assert "300 training, 100 validation and 200 test images" in card
    assert "`python pretrained/train_extractor.py --data digits --epochs 2 --batch-size 50`" in card
    metrics = runs.read_json(folder / "summary.json")["metrics"]
    test = digits.draw_set("test", count=200)
    assert metrics["test/accuracy_label"] == train_extractor.accuracy(extractor, test)["label"]
    assert metrics["eval/fd_digits_200_train"] > 0


def test_an_interrupted_run_ends_with_the_same_weights(short_run, monkeypatch):
    config, whole = short_run
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save_if_due", stop_at_step_8)
        with pytest.raises(Stopped):
            train_extractor.main(config)
    resumed = whole.with_name("0002-digits")
    with pytest.raises(InputError, match="laid out for 2"):
        train_extractor.main(replace(config, epochs=3, resume=resumed))
    train_extractor.main(replace(config, resume=resumed))
    load_split = train_extractor.load_split
    digest = lambda folder: extractors.file_sha256(folder / "digits.safetensors")
    assert digest(resumed) == digest(whole)
    steps = lambda folder: [line["step"] for line in runs.read_metrics(folder)]
    assert steps(resumed) == steps(whole) == [6, 12]
    test = train_extractor.load_split(config, "test")
    monkeypatch.setattr(
        train_extractor, "load_split", lambda _, split: test if split == "val" else load_split(config, split)
    )
    with pytest.raises(InputError, match="--data: these are other images"):
        train_extractor.main(replace(config, resume=resumed))


def stop_at_step_8(saver, step, loss):
    """As if SIGTERM came during step 8."""
    if step == 8:
        saver.save(step)
        raise Stopped(15, "stopped")


def test_wilson_interval_holds_the_shares_within_z_standard_errors():
    N = 200
    for right in (0, 3, 100, 199, 200):
        low, high = extractor_card.wilson_interval(right / N, N)
        for p in (low, high):  # by its definition: |share - p| = z sqrt(p (1 - p) / N)
            assert abs(right / N - p) == pytest.approx(1.96 * (max(p * (1 - p), 0) / N) ** 0.5, abs=1e-9)
        assert low <= right / N <= high + 1e-12


@pytest.mark.parametrize(
    ("flags", "message"), [({"epochs": 0}, "--epochs 0"), ({"dropout": 1.0}, "--dropout 1.0")]
)
def test_impossible_flags(flags, message):
    with pytest.raises(InputError, match=message):
        command_line.checked(Config(**flags))
