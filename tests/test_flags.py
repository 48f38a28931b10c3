"""Every flag of every script has a range, and refuses what lies outside of it in one line."""

import dataclasses
import importlib
import re
import typing
from pathlib import Path

from common import command_line, flags
from common.errors import InputError, warn

import pydantic
import pytest

from hw4_diffusion import subject_tuning, train_lora

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("common", "hw1_bayes_and_autoencoders", "hw2_gan", "hw3_stylegan_sampling", "hw4_diffusion",
         "lab8_generative", "pretrained", "benchmarks")  # fmt: skip


def scripts() -> list[str]:
    """Modules that hand a Config to the command line."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    started = [path for path in files if "command_line.run(main, Config)" in path.read_text(encoding="utf-8")]
    return sorted(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in started)


CONFIGS = {name: importlib.import_module(name).Config for name in scripts()}
FIELDS = [(name, field.name) for name, config in CONFIGS.items() for field in dataclasses.fields(config)]


def kinds(annotation) -> set[type]:
    """The plain types that an annotation is made of."""
    inner = [part for part in typing.get_args(annotation) if part is not ...]
    if typing.get_origin(annotation) is typing.Literal:
        return {typing.Literal}
    if typing.get_origin(annotation) is typing.Annotated:
        return kinds(inner[0])
    return set().union(*map(kinds, inner)) if inner else {annotation}


def refuses(config, name: str, value) -> bool:
    """Whether this value of one field is out of range."""
    annotation = typing.get_type_hints(config, include_extras=True)[name]
    adapter = pydantic.TypeAdapter(annotation, config=flags.Flags.__pydantic_config__)
    repeated = "tuple" in str(annotation)
    length = len([part for part in typing.get_args(annotation) if part is not ...]) if repeated else 1
    try:
        adapter.validate_python((value,) * max(1, length) if repeated else value)
    except pydantic.ValidationError:
        return True
    return False


def test_the_scripts_of_every_room_are_found():
    assert {name.split(".")[0] for name in CONFIGS} >= set(ROOMS) - {"pretrained"}
    assert len(CONFIGS) > 20


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_refuses_what_is_no_number(name):
    assert issubclass(CONFIGS[name], flags.Flags)


@pytest.mark.parametrize("module, name", FIELDS)
def test_every_number_has_a_range(module, name):
    """A number without one takes 2^64 or infinity and ends in a traceback, or in nonsense."""
    config = CONFIGS[module]
    known = kinds(typing.get_type_hints(config, include_extras=True)[name])
    if int in known:
        assert refuses(config, name, 2**64), (
            f"{module}: --{name} takes 2^64: give it a kind of common/flags.py"
        )
        assert refuses(config, name, -(2**64)), f"{module}: --{name} takes -2^64"
    if float in known:
        for value in (float("nan"), float("inf"), float("-inf"), 1e308, -1e308):
            assert refuses(config, name, value), (
                f"{module}: --{name} takes {value}: give it a kind of flags.py"
            )


@pytest.mark.parametrize(
    "module, name, largest",
    [
        ("hw1_bayes_and_autoencoders.train_autoencoder", "latent", 4096),
        ("hw1_bayes_and_autoencoders.train_vae", "latent", 4096),
        ("hw1_bayes_and_autoencoders.train_vae", "lr", 1.0),
        ("hw1_bayes_and_autoencoders.eval_autoencoder", "fraction", 1.0),
        ("hw1_bayes_and_autoencoders.eval_vae", "samples", 10**6),
        ("hw2_gan.eval_gan", "frames", 1000),
        ("hw2_gan.train_gan", "width", 16),
        ("hw2_gan.train_gan", "lr_generator", 1.0),
        ("hw2_gan.train_gan", "instance_noise", 10.0),
        ("hw2_gan.train_gan", "measure_images", 10**6),
        ("hw3_stylegan_sampling.train_stylegan", "channels", 1024),
        ("hw3_stylegan_sampling.train_stylegan", "w_dim", 4096),
        ("hw3_stylegan_sampling.train_stylegan", "mapping_layers", 64),
        ("lab8_generative.train_gan", "width", 256),
        ("pretrained.train_extractor", "features", 4096),
        ("pretrained.train_extractor", "shift", 16),
        ("pretrained.train_identity", "sets", 100),
        ("pretrained.train_identity", "margin", 3.14),
        ("pretrained.train_identity", "shift", 16),
        ("pretrained.train_identity", "smallest", 64),
    ],
)
def test_no_network_is_wider_and_no_set_larger_than_anyone_trains(module, name, largest):
    """A larger one is a slip of the keyboard, which would draw images or train for days."""
    assert not refuses(CONFIGS[module], name, largest)
    assert refuses(CONFIGS[module], name, 2 * largest)


RATES = [
    each for each in FIELDS if re.fullmatch(r"(.*_)?lr(_generator|_discriminator)?|learning_rate", each[1])
]


@pytest.mark.parametrize("module, name", RATES)
def test_no_learning_rate_is_larger_than_1(module, name):
    assert not refuses(CONFIGS[module], name, 1.0) and refuses(CONFIGS[module], name, 1.5)
    assert refuses(CONFIGS[module], name, 0.0)


@pytest.mark.parametrize("module", CONFIGS)
def test_every_flag_says_what_it_is_in_a_phrase_of_its_own(module, capsys):
    """--help shows nothing else of it: "Of the latents." says nothing there."""
    with pytest.raises(SystemExit):
        command_line.parse(CONFIGS[module], ["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert not any(f"{kind} Of " in text for kind in ("INT", "FLOAT", "STR", "PATH", "}"))


@pytest.mark.parametrize(
    "module, idle, used",
    [
        ("hw1_bayes_and_autoencoders.train_autoencoder", {"memory_items": 20}, {"arch": "memory"}),
        ("hw1_bayes_and_autoencoders.train_autoencoder", {"pixel_sigma": 0.5}, {"arch": "vae"}),
        ("hw1_bayes_and_autoencoders.train_vae", {"sigma": 0.5}, {"likelihood": "gaussian-learned"}),
        ("hw2_gan.train_gan", {"generator": "dcgan", "refined": True}, {"generator": "cspup"}),
        ("hw2_gan.train_gan", {"loss": "hinge", "real_label": (0.9, 0.9)}, {"loss": "minimax"}),
        ("hw2_gan.train_gan", {"penalty_every": 2}, {"r1_gamma": 1.0}),
        ("hw3_stylegan_sampling.train_stylegan", {"r1_gamma": 0.0, "r1_every": 2}, {"r1_gamma": 1.0}),
        ("hw3_stylegan_sampling.train_stylegan", {"path_weight": 0.0, "path_every": 2}, {"path_weight": 1.0}),
        ("hw3_stylegan_sampling.sample", {"network": "a", "trunc_cutoff": 2}, {"trunc": (0.5,)}),
        ("hw4_diffusion.train_ddpm", {"min_snr_gamma": 1.0}, {"weight": "min-snr"}),
        ("hw4_diffusion.train_ddpm", {"told": "nothing", "drop_class": 0.5}, {"told": "label"}),
        (
            "hw4_diffusion.train_ddpm",
            {"schedule": "flow", "zero_terminal_snr": True},
            {"schedule": "linear"},
        ),
        ("hw4_diffusion.sample_ddpm", {"model": "a", "repeats": 2}, {"show": "inpainting"}),
        (
            "hw4_diffusion.sample_ddpm",
            {"model": "a", "show": "schedule", "guidance": 2.0},
            {"show": "process"},
        ),
        (
            "hw4_diffusion.eval_ddpm",
            {"models": ("a",), "curve_samples": 0, "evaluations": (3,)},
            {"curve_samples": 9},
        ),
        ("hw4_diffusion.linear_diffusion", {"iterations": 2}, {"solver": "gradient-descent"}),
    ],
)
def test_a_flag_that_does_nothing_beside_the_others_is_said(module, idle, used, capsys):
    script, name = importlib.import_module(module), list(idle)[-1]
    warn.cache_clear()
    script.check(CONFIGS[module](**idle))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {command_line.flag(name)} ") and "does nothing without --" in line
    script.check(CONFIGS[module](**idle | used))
    required = {name: idle[name] for name in ("model", "models", "network") if name in idle}
    script.check(CONFIGS[module](**required))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "module",
    [name for name, config in CONFIGS.items() if "data" in {f.name for f in dataclasses.fields(config)}],
)
def test_an_image_set_without_a_name_is_refused(module):
    config = CONFIGS[module]
    if str in kinds(typing.get_type_hints(config, include_extras=True)["data"]):
        assert refuses(config, "data", " ")


def test_a_value_that_is_no_number_is_refused_by_its_flag():
    with pytest.raises(InputError, match=r"^--lr nan: must be a finite number"):
        command_line.parse(CONFIGS["hw1_bayes_and_autoencoders.train_vae"], ["--lr", "nan"])


def test_a_value_that_the_model_implies_was_not_given(capsys):
    warn.cache_clear()
    large = ["--pretrained_model_name_or_path", "runwayml/stable-diffusion-v1-5"]
    said = lambda *more: subject_tuning.check(command_line.parse(train_lora.Config, [*large, *more]))
    said()
    assert capsys.readouterr().err == ""
    said("--class-guidance-scale", "3", "--num-class-images", "50")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["--class-guidance-scale", "--num-class-images"]


NAMED = [each for each in FIELDS if each[0].startswith("pretrained.") and each[1] == "name"]


@pytest.mark.parametrize("module, name", NAMED)
@pytest.mark.parametrize("value", [" ", ".", "..", "a/b", "/anywhere", "~", "a\nb", "\udcff", "n" * 101])
def test_what_becomes_a_file_name_is_no_path(module, name, value):
    """`--name .` would replace the folder that it is to lie in."""
    assert refuses(CONFIGS[module], name, value) and not refuses(CONFIGS[module], name, "ddpm-mnist_2.1")


@pytest.mark.parametrize(
    "module, more, said",
    [
        ("hw3_stylegan_sampling.models", (), "--network ~nobody-of-that-name/x: neither a file"),
        ("hw3_stylegan_sampling.encoder", (None,), "--encoder ~nobody-of-that-name/x: neither a file"),
        ("hw4_diffusion.models", (), "--model ~nobody-of-that-name/x: neither a run directory"),
        ("common.metrics.identity", (), "--identity ~nobody-of-that-name/x: no such file"),
    ],
)
def test_a_network_in_the_home_of_an_unknown_user_is_no_traceback(module, more, said):
    with pytest.raises(InputError, match=f"^{said}"):
        importlib.import_module(module).load("~nobody-of-that-name/x", *more)


def test_batch_normalisation_of_the_identity_network_compares_several_pictures():
    assert refuses(CONFIGS["pretrained.train_identity"], "batch_size", 1)
    assert not refuses(CONFIGS["pretrained.train_identity"], "batch_size", 2)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--size", "12"], "--size 12: the sides of images are powers of two"),
        (["--size", "32"], "--channels 192 192 128 64 32: 5 numbers; --size 32 needs 4"),
        (["--channels"], "--channels : 0 numbers"),
        (["--augment", "adaptive", "adaptive"], "--augment adaptive: name the changes too"),
    ],
)
def test_what_no_stylegan_can_be_is_said_before_images_are_drawn(words, said):
    script = importlib.import_module("hw3_stylegan_sampling.train_stylegan")
    with pytest.raises(InputError, match=f"^{said}"):
        script.check(command_line.parse(script.Config, words))


NETWORKS = [
    (module, name)
    for module, name in FIELDS
    if name in ("network", "identity", "judge", "encoder", "model", "models")
    and str in kinds(typing.get_type_hints(CONFIGS[module], include_extras=True)[name])
]


@pytest.mark.parametrize("module, name", NETWORKS)
def test_a_network_is_named_by_a_place_that_stays_what_it_is(module, name, tmp_path, monkeypatch, capsys):
    """A run is resumed from another folder; what comes with the course is not a file called so."""
    adapter = pydantic.TypeAdapter(typing.get_type_hints(CONFIGS[module], include_extras=True)[name])
    read = lambda value: (
        adapter.validate_python((value,))[0] if name == "models" else adapter.validate_python(value)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.safetensors").touch()
    assert read("own.safetensors") == read("~/own.safetensors") == str(tmp_path / "own.safetensors")
    assert read("no/such") == "no/such"  # perhaps of a hub
    (tmp_path / "avatars").mkdir()
    warn.cache_clear()
    assert read("avatars") == "avatars"
    assert "warning: avatars: taken for what comes with the course; give ./avatars" in capsys.readouterr().err
    assert read("./avatars") == str(tmp_path / "avatars")


def test_networks_are_named_in_many_scripts():
    assert len({module for module, _ in NETWORKS}) >= 15
