"""What needs a GPU: every training script in bf16, and resumed; samples and features equal to the CPU's.

    python -m pytest -m cuda -n 0

Without a GPU all of it is skipped.
"""

import copy
import dataclasses

from common import checkpoints, choices, cuda_graphs
from common.metrics import extractors

import pytest
import torch
from test_training_loops import SCRIPTS, folders, train  # noqa: F401  fixtures

from hw3_stylegan_sampling import sample, trained, ways
from hw3_stylegan_sampling.discriminator import Discriminator
from hw3_stylegan_sampling.networks import Architecture, Generator

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
GPU = "cuda"
SMALL = Architecture(size=32, channels=(24, 24, 16, 8), z_dim=20, w_dim=16, options=(3, 4))


@pytest.fixture(autouse=True)
def _full_precision():
    """Convolutions of float32 in float32, not in TF32's 10 bits."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


def last(run_dir):
    return checkpoints.read(run_dir / "checkpoints" / "last.pt")


def numbers(state):
    """All tensors in the states of a checkpoint's parts."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, (dict, list, tuple)):
        for part in state.values() if isinstance(state, dict) else state:
            yield from numbers(part)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_training_script_runs_in_bf16_and_resumes(name, train):  # noqa: F811
    run_dir = train(name, device=GPU, precision="bf16")
    before = last(run_dir)
    assert all(tensor.isfinite().all() for tensor in numbers(before["parts"]) if tensor.is_floating_point())
    script = SCRIPTS[name][0]
    config = script.command_line.config_from_run(script.Config, run_dir)
    longer = {"steps": config.steps + 2} if hasattr(config, "steps") else {"epochs": config.epochs + 1}
    assert script.main(dataclasses.replace(config, resume=run_dir, **longer)) == run_dir
    assert last(run_dir)["step"] > before["step"]


def test_a_resumed_run_goes_where_the_whole_one_went(train):  # noqa: F811
    """Kernels that add in any order differ in the last bits."""
    name, script = "hw3 stylegan", SCRIPTS["hw3 stylegan"][0]
    whole = train(name, device=GPU, cooldown=0.0)
    half = train(name, device=GPU, cooldown=0.0, steps=2)
    config = script.command_line.config_from_run(script.Config, half)
    script.main(dataclasses.replace(config, resume=half, steps=4))
    for part in ("generator", "discriminator", "ema"):
        for key, value in last(whole)["parts"][part].items():
            assert torch.allclose(last(half)["parts"][part][key], value, rtol=1e-2, atol=1e-3), (part, key)


OF_GAN = {"r1_every": 4, "path_every": 2}


@pytest.mark.parametrize(
    ("name", "more", "with_graphs"),
    [("hw3 stylegan", OF_GAN, {}), ("hw4 ddpm", {}, {}), ("hw4 ddpm", {}, {"compile": True})],
)
def test_steps_as_graphs_end_where_plain_ones_do(name, more, with_graphs, train, monkeypatch):  # noqa: F811
    replays, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(1), replay(graph)))
    as_graphs = last(train(name, device=GPU, steps=24, **more, **with_graphs))
    assert len(replays) >= 24 - 3 * cuda_graphs.WARM_UP
    monkeypatch.setattr(cuda_graphs, "WARM_UP", 99)
    plain = last(train(name, device=GPU, steps=24, **more))
    pairs = zip(numbers(as_graphs["parts"]), numbers(plain["parts"]), strict=True)
    assert all(torch.allclose(one.double(), other.double(), rtol=2e-2, atol=5e-3) for one, other in pairs)


def both(network):
    """The network here, and a copy of it on the GPU."""
    return network, copy.deepcopy(network).to(GPU)


def test_seeds_give_the_cpus_images():
    torch.manual_seed(0)
    here, there = both(Generator(SMALL).requires_grad_(False))
    for seed in range(4):
        drawn = [sample.draw(one, seed, None, 0.8, 3, "const").int() for one in (here, there)]
        assert (drawn[0] - drawn[1]).abs().max() <= 1


def test_ways_of_sampling_draw_the_cpus_images():
    torch.manual_seed(0)
    here, there = both(Generator(SMALL).requires_grad_(False))
    discriminator = Discriminator(SMALL.channels, options=SMALL.options).requires_grad_(False)
    pairs = [ways.Judge(*pair) for pair in zip((here, there), both(discriminator))]
    draws = lambda: torch.Generator().manual_seed(1)
    for draw in (
        lambda judge: ways.langevin(judge, 20, 9, 0.05, draws()),
        lambda judge: ways.rejection(judge, 20, 4, draws()),
    ):
        one, other = (draw(judge) for judge in pairs)
        apart = (one.images.int() - other.images.int()).abs().double()
        assert apart.mean() < 0.5  # an acceptance on the edge may fall to the other side, a row later
        assert torch.allclose(one.z, other.z.cpu(), atol=1e-2)


def test_options_that_latents_choose_are_the_cpus():
    z = torch.randn(1000, 3)
    assert torch.equal(choices.chosen(z, (2, 5, 7)), choices.chosen(z.to(GPU), (2, 5, 7)).cpu())


def test_features_are_the_cpus():
    images = torch.randint(0, 256, (40, 3, 64, 64), dtype=torch.uint8)
    here, there = (extractors.load_extractor("avatars", device) for device in ("cpu", GPU))
    expected, found = (extractors.features_of(images, one).cpu() for one in (here, there))
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


def test_a_run_trained_on_a_gpu_is_sampled_on_the_cpu(train):  # noqa: F811
    found = trained.load(train("hw3 stylegan", device=GPU, precision="bf16"), "cpu")
    assert found.generator(torch.randn(2, found.generator.z_dim)).isfinite().all()
