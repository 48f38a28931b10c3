"""`course report`: what runs measured, in a README whose other bytes stay."""

from __future__ import annotations

import json
import re
from pathlib import Path

from common import runs
from common.devices import Device
from common.errors import InputError

import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from course.student import report, sections, trained_run


def make_run(folder: Path, *, lr: float, distance: float) -> Path:
    """A run directory as a student's script with common.runs leaves it."""
    folder.mkdir(parents=True)
    flags = {
        "data": "digits",
        "train_images": 32,
        "size": 28,
        "lr": lr,
        "outdir": str(folder),
        "data_dir": str(folder),
    }
    (folder / "config.json").write_text(json.dumps(flags))
    with runs.Run(folder, Device(torch.device("cpu"))) as run:
        for step in (10, 20, 30):
            run.log(step, {"train/loss": 1 / step, "val/fd_digits_1k": distance + 30 - step})
            run.save_samples("ema", step, torch.full((4, 1, 28, 28), step, dtype=torch.uint8), 2)
        run.summary({"eval/fd_digits_1k": distance, "eval/recall": 0.5}, n=1000)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> list[Path]:
    place = tmp_path_factory.mktemp("runs")
    return [
        make_run(place / "0001-base", lr=1e-3, distance=40.0),
        make_run(place / "0002-slow", lr=1e-4, distance=31.5),
    ]


def run_report(readme: Path, *arguments) -> str:
    assert report.main([*map(str, arguments), "--readme", str(readme)]) == 0
    return readme.read_bytes().decode("utf-8")


def part(text: str, name: str) -> str:
    return re.search(rf"<!-- course report: {name} -->\n(.*?)<!-- end", text, re.DOTALL)[1]


def outside(text: str) -> str:
    return re.sub(
        r"(<!-- course report: [^\n]* -->).*?(<!-- end of course report -->)", r"\1\2", text, flags=re.S
    )


def test_the_sections_that_the_course_demands(trained, tmp_path):
    text = run_report(tmp_path / "README.md", *trained)
    assert "digits (drawn by" in part(text, "data set") and "32 training images, 28×28" in part(
        text, "data set"
    )
    assert text.startswith("# Homework\n\n## Task")
    results = part(text, "results")
    assert "| eval/fd_digits_1k | 40.00 |" in results and "Measured by `0001-base`, n 1,000, " in results
    experiment = part(text, "experiment 0002-slow")
    assert "`lr` 0.001 → 0.0001" in experiment and "outdir" not in experiment and "data_dir" not in experiment
    assert "| eval/fd_digits_1k | 31.50 | 40.00 | −8.500 |" in experiment
    assert text.index("- *Goal*: ") < text.index("experiment 0002") < text.index("- *Conclusion*: ")
    for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        with Image.open(tmp_path / link) as image:
            image.load()
    assert {"report/0001-base-loss.png", "report/0001-base-metric.png", "report/0001-base-ema.png"} <= set(
        re.findall(r"\(([^)]+\.png)\)", results)
    )


def test_the_newest_samples_are_shown(trained, tmp_path):
    run_report(tmp_path / "README.md", trained[0])
    with Image.open(tmp_path / "report" / "0001-base-ema.png") as image:
        assert image.getpixel((1, 1))[0] == 30


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_students_words_stay_byte_for_byte(trained, tmp_path, newline):
    readme = tmp_path / "README.md"
    run_report(readme, *trained)
    text = readme.read_text(encoding="utf-8")
    text = text.replace("- *Goal*: ", "- *Goal*: меньше шума \u00a0 ").replace(
        "## Task", "## Task\n\n\n trailing  "
    )
    readme.write_bytes(text.replace("\n", newline).encode("utf-8"))
    before = readme.read_bytes().decode("utf-8")
    after = run_report(readme, *trained)
    assert outside(after) == outside(before) and after == before
    again = run_report(readme, trained[1], "--baseline", trained[1])
    assert outside(again) == outside(before) and "31.50" in again


def test_a_readme_of_the_students_own_gets_the_sections_where_they_belong(trained, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Моя работа\n\n## Датасет\n\nмои слова\n\n## Код\n\nещё слова", encoding="utf-8")
    text = run_report(readme, *trained, "--lang", "ru")
    assert text.index("мои слова") < text.index("report: data set") < text.index("## Код")
    assert text.index("ещё слова") < text.index("## Результаты") < text.index("## Эксперименты")
    assert "32 обучающих" in text and "| eval/fd_digits_1k | 40,00 |" in text and "−8,500" in text
    words = ("# Моя работа", "## Датасет", "мои слова", "## Код", "ещё слова")
    assert [line for line in outside(text).splitlines() if line in words] == list(words)


def test_logs_of_a_script_that_does_not_use_ours(tmp_path):
    with SummaryWriter(str(tmp_path / "logs" / "first")) as writer:
        for step in range(5):
            writer.add_scalar("Loss/train", 1 / (step + 1), step)
            writer.add_scalar("val_accuracy", step / 10, step)
        writer.add_image("samples", torch.full((3, 8, 8), 200, dtype=torch.uint8), 4)
    text = run_report(tmp_path / "README.md", tmp_path / "logs")
    assert "does not say which images" in part(text, "data set")
    results = part(text, "results")
    assert "| val_accuracy | 0.4000 |" in results and "Loss/train" not in results
    assert {"report/logs-loss.png", "report/logs-metric.png", "report/logs-samples.png"} == set(
        re.findall(r"\(([^)]+\.png)\)", results)
    )


def test_the_loss_is_shown_once_and_a_figure_is_not_called_a_sample(tmp_path):
    folder = make_run(tmp_path / "0001-base", lr=1e-3, distance=40.0)
    summary = json.loads((folder / "summary.json").read_text())
    summary["figures"] = ["loss.png", "roc.png", "samples.png"]
    summary["metrics"] |= {"epoch": 2, "eval/modes": 40}
    (folder / "summary.json").write_text(json.dumps(summary))
    for name in summary["figures"]:
        Image.new("RGB", (8, 8)).save(folder / name)
    results = part(run_report(tmp_path / "README.md", folder, "--lang", "ru"), "results")
    assert results.count("loss.png") == 1 and "моделью: loss" not in results
    assert "*Рисунок запуска: ROC-кривая.*" in results and "*Нарисовано моделью: сэмплы.*" in results
    assert "*Нарисовано моделью: ema.*" in results
    assert "epoch" not in results and "| eval/modes | 40 |" in results


def test_a_russian_report_says_it_all_in_russian(trained, tmp_path):
    text = run_report(tmp_path / "README.md", *trained, "--lang", "ru")
    assert re.search(r"digits \(рисует common/data/digits\.py, версия \d+, seed \d+\): 32 ", text)
    measured = re.search(
        r"Измерено запуском `0001-base`, примеров: 1000, [\d,]+ мин, процессор, (.*)\.", text
    )
    assert measured and measured[1].split()[1].startswith("поток")
    for word in ("drawn by", "version", "minutes", "device", "threads", "n 1000"):
        assert word not in text


def test_a_readme_in_another_encoding_is_named(trained, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_bytes("# Моя работа\n".encode("cp1251"))
    assert report.main([str(trained[0]), "--readme", str(readme)]) == 1
    assert f"{readme}: not UTF-8 (byte 2); save it as UTF-8" in capsys.readouterr().err
    assert readme.read_bytes() == "# Моя работа\n".encode("cp1251") and list(tmp_path.iterdir()) == [readme]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# A\n<!-- course report: results -->\n", "README.md:2: the part 'results' never ends"),
        ("# A\n<!-- end of course report -->\n", "README.md:2: a part ends that never began"),
        (
            "<!-- course report: a -->\n<!-- course report: b -->\n<!-- end of course report -->\n",
            "README.md:2: the part 'b' begins before another one ends",
        ),
        (
            2 * "<!-- course report: a -->\n<!-- end of course report -->\n",
            "README.md:3: the part 'a' comes twice",
        ),
    ],
)
def test_broken_marks_are_named_and_nothing_changes(trained, tmp_path, capsys, text, message):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert report.main([str(trained[0]), "--readme", str(readme)]) == 1
    assert message in capsys.readouterr().err
    assert readme.read_text() == text and list(tmp_path.iterdir()) == [readme]


def test_what_no_training_wrote_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert report.main([str(tmp_path / "empty"), "--readme", str(tmp_path / "README.md")]) == 1
    assert "neither a run directory (config.json) nor TensorBoard's event files" in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()
    with pytest.raises(InputError):
        trained_run.read(tmp_path / "nothing there")


def test_numbers_have_four_figures_in_each_language():
    numbers = {0: "0", 1234.56: "1,235", 0.01236: "0.01236", -8.5: "−8.500", float("nan"): "nan"}
    assert [sections.written(value, "en") for value in numbers] == list(numbers.values())
    assert sections.written(-8.5, "ru", signed=True) == "−8,500" and sections.written(1.5, "ru") == "1,500"


def test_the_readme_is_that_of_the_current_folder(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report.main([str(trained[0])]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'README.md'}: 1 runs\n"
    assert (tmp_path / "README.md").is_file()
