"""Results kept from a run, and the tables of the pages written from them."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from course.pages import TABLES, hw2, hw3, results
from course.pages.tables import Column, Table, Text, device, markdown, number, percent
from hw3_stylegan_sampling import compare_sampling


def test_the_tables_of_all_pages_are_what_the_committed_results_say():
    assert results.main(["--check"]) == 0


def make_run(folder, figure: np.ndarray):
    folder.mkdir(parents=True)
    Image.fromarray(figure).save(folder / "a.png")
    summary = {"metrics": {"test/auc": 0.9}, "figures": ["a.png"]}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.json").write_text(json.dumps({"counts": f"{results.ROOT}/x.toml"}))
    (folder / "env.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["clone", "мой курс", "\u0438\u0306 in two letters"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_kept_results_hold_no_path_of_this_clone(tmp_path, monkeypatch, name, ascii_only):
    root = tmp_path / name
    monkeypatch.setattr(results, "ROOT", root)
    run = make_run(root / "run", np.zeros((20, 20, 3), np.uint8))
    config = {"counts": f"{root}/x.toml", "images": [f"{root}/data/a b.png", 3], "other": "/elsewhere/x.toml"}
    (run / "config.json").write_text(json.dumps(config, ensure_ascii=ascii_only), encoding="utf-8")
    results.keep_one(run, root / "kept", figures=())
    text = (root / "kept" / "config.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "counts": "x.toml",
        "images": ["data/a b.png", 3],
        "other": "/elsewhere/x.toml",
    }


def test_figures_are_kept_on_request(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    run, kept = make_run(tmp_path / "run", np.zeros((20, 20, 3), np.uint8)), tmp_path / "kept"
    results.keep_one(run, kept, figures=("*",))
    assert (kept / "a.png").read_bytes() == (run / "a.png").read_bytes()
    results.keep_one(run, kept, figures=())
    assert not (kept / "a.png").exists()


def test_a_figure_too_large_for_git_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    run = make_run(tmp_path / "run", noise)
    with pytest.raises(ValueError, match=r"a\.png: larger than 500 kB"):
        results.keep_one(run, tmp_path / "kept", figures=("*",))


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    assert results.main([str(tmp_path)]) == 1
    assert "no results.json of `course run` there" in capsys.readouterr().err


CHECK = """
import sys
from course import command_line, install

install.enter_environment = lambda *arguments, **options: None
sys.exit(command_line.main(["results", "--check"]))
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_results_are_checked_in_a_path_with_spaces_and_letters(tmp_path, encoding):
    clone = tmp_path / "мой курс"
    clone.mkdir()
    for path in results.ROOT.iterdir():
        if path.name == "course":
            shutil.copytree(path, clone / "course", ignore=shutil.ignore_patterns("__pycache__"))
        elif not path.name.startswith(".") and path.name not in ("runs", "data"):
            (clone / path.name).symlink_to(path)
    page = clone / "README.ru.md"
    text = page.read_text(encoding="utf-8")
    page.unlink()
    page.write_text(text + "\n<!-- table: pixels -->\n<!-- end of table -->\n", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONIOENCODING"] = encoding
    start = [sys.executable, "-c", CHECK]
    process = subprocess.run(start, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr == (
        "course results: README.ru.md is not what the results say; run `python3 -m course results`\n"
    )


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A Russian page that marks the table `toy`, whose text is out of date."""
    monkeypatch.setattr(results, "ROOT", tmp_path)
    rows = [
        {"model": {"en": "word", "ru": "слово"}, "auc": 0.91, "auc_sd": 0.02, "best": True},
        {"model": "b"},
    ]
    columns = (Column("model", "model", "модель"), Column("auc", "AUC", "AUC", 2))
    table = Table(columns, lambda root: rows, lambda root, language: f"N = {number(12345, language)}.")
    monkeypatch.setitem(TABLES, "toy", table)
    page = tmp_path / "README.ru.md"
    page.write_text(
        "# Слова\n\n<!-- table: toy -->\nold\n<!-- end of table -->\n\nдальше\n", encoding="utf-8"
    )
    return page


def test_check_names_a_stale_page_and_leaves_it(page, capsys):
    before = page.read_text(encoding="utf-8")
    assert results.main(["--check"]) == 1
    assert "README.ru.md is not what the results say" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == before


def test_a_stale_page_is_written_anew(page):
    assert results.main([]) == 0
    assert page.read_text(encoding="utf-8") == (
        "# Слова\n\n<!-- table: toy -->\n| модель | AUC |\n|---|---|\n| **слово** | **0,91 ± 0,02** |\n"
        "| b | не запускалось |\n\nN = 12\u202f345.\n<!-- end of table -->\n\nдальше\n"
    )
    assert results.main(["--check"]) == 0


def test_an_unknown_table_is_named(page, capsys):
    page.write_text("<!-- table: nothing -->\n<!-- end of table -->\n")
    assert results.main([]) == 1
    assert "README.ru.md: unknown table nothing; there are " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "digits", "english", "russian"),
    [
        (0.844, 2, "0.84", "0,84"),
        (-0.3, 1, "−0.3", "−0,3"),
        (1248, 0, "1,248", "1248"),
        (1501.04, 1, "1,501.0", "1501,0"),
        (9999.6, 0, "10,000", "10\u202f000"),
        (10000, 0, "10,000", "10\u202f000"),
        (-1910339.5, 1, "−1,910,339.5", "−1\u202f910\u202f339,5"),
    ],
)
def test_numbers_are_written_as_the_language_does(value, digits, english, russian):
    assert (number(value, "en", digits), number(value, "ru", digits)) == (english, russian)


def test_signed_numbers_and_shares():
    assert number(0.25, "ru", 1, signed=True) == "+0,2"
    assert percent(0.845, "en", 1) == "84.5 %"


@pytest.mark.parametrize(
    ("kept", "english", "russian"),
    [
        ("cpu, 1 threads", "CPU, 1 thread", "процессор, 1 поток"),
        ("cpu, 2 threads", "CPU, 2 threads", "процессор, 2 потока"),
        ("cpu, 12 threads", "CPU, 12 threads", "процессор, 12 потоков"),
        ("cpu, 21 threads", "CPU, 21 threads", "процессор, 21 поток"),
        ("NVIDIA H100", "NVIDIA H100", "NVIDIA H100"),
    ],
)
def test_devices_are_named_in_words(kept, english, russian):
    assert (device(kept, "en"), device(kept, "ru")) == (english, russian)


def shown(name: str, language: str) -> str:
    """A table or text as on a page, without what stands in backticks."""
    return re.sub(r"`[^`]*`", "", markdown(TABLES[name], language, results.ROOT))


@pytest.mark.parametrize("name", TABLES)
def test_russian_tables_are_in_russian(name):
    text = shown(name, "ru")
    assert re.findall(r"\d\.\d|\d,\d{3},\d|threads?|\bcpu\b", text) == []


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("name", TABLES)
def test_long_numbers_are_in_groups_of_three(name, language):
    assert re.findall(r"\d{5,}", shown(name, language)) == []


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if isinstance(table, Table)])
def test_the_two_languages_of_a_table_hold_the_same_numbers(name):
    cells = {
        language: [
            re.sub(r"[^\d|±]", "", line)
            for line in shown(name, language).splitlines()
            if line.startswith("|") and re.search(r"\d", line)
        ]
        for language in ("en", "ru")
    }
    assert cells["en"] == cells["ru"]


def test_the_study_shows_averaged_weights_and_says_where_not():
    titles = {column.key: column.en for column in hw2.study_columns(results.ROOT)}
    for quantity in ("valid", "coverage", "evenness", "diversity"):
        assert f"ema_{quantity}" in titles
    assert [title for key, title in titles.items() if key.startswith("raw_")] == [
        "distance of the last weights"
    ]


def test_the_study_counts_the_epochs_that_were_trained():
    epochs = {row["hypothesis"]: row["epochs"] for row in hw2.study_rows(results.ROOT)}
    kept = {row["hypothesis"]: row for row in hw2.models(results.ROOT)[0]}
    assert epochs["base"] == kept["base"]["collapsed_epochs"] == 2  # it collapsed in every epoch it had
    assert epochs["6"] == 16


def test_texts_are_written_in_both_languages():
    for name in (name for name, table in TABLES.items() if isinstance(table, Text)):
        assert re.search("[а-я]", shown(name, "ru")) and not re.search("[а-я]", shown(name, "en"))


def test_an_unfinished_training_is_said_to_be_one():
    steps = hw3.Config.steps
    assert "5,000 of 20,000" in hw3.when({"step": 5000}, "en") and "goes on" in hw3.when({"step": 5000}, "en")
    assert "ещё идёт" in hw3.when({"step": steps - 1}, "ru")
    assert hw3.when({"step": steps}, "en") == "the shipped generator"


def test_every_way_has_a_name_on_the_pages():
    for way in hw3.WAYS:
        assert f'"{way}": ' in inspect.getsource(compare_sampling.ways_of)
