"""Results kept from a run, and the tables of the pages written from them."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from course.pages import TABLES, results
from course.pages.tables import Column, Table


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


def test_kept_results_hold_no_path_of_this_clone_and_figures_on_request(tmp_path):
    run = make_run(tmp_path / "run", np.zeros((20, 20, 3), np.uint8))
    results.keep_one(run, results.ROOT / "runs" / f"kept-{os.getpid()}", figures=("*",))
    kept = results.ROOT / "runs" / f"kept-{os.getpid()}"
    try:
        assert json.loads((kept / "config.json").read_text()) == {"counts": "x.toml"}
        assert (kept / "a.png").read_bytes() == (run / "a.png").read_bytes()
        results.keep_one(run, kept, figures=())
        assert not (kept / "a.png").exists()
    finally:
        results.shutil.rmtree(kept)


def test_a_figure_too_large_for_git_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    run = make_run(tmp_path / "run", noise)
    with pytest.raises(ValueError, match=r"a\.png: larger than 500 kB"):
        results.keep_one(run, tmp_path / "kept", figures=("*",))


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    assert results.main([str(tmp_path)]) == 1
    assert "no results.json of `course run` there" in capsys.readouterr().err


def test_a_stale_page_is_named_by_check_and_mended_without(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    rows = [
        {"model": {"en": "word", "ru": "слово"}, "auc": 0.91, "auc_sd": 0.02, "best": True},
        {"model": "b"},
    ]
    columns = (Column("model", "model", "модель"), Column("auc", "AUC", "AUC", 2))
    table = Table(columns, lambda root: rows, lambda root: {"en": "N = 3.", "ru": "N = 3."})
    monkeypatch.setitem(TABLES, "toy", table)
    page = tmp_path / "README.ru.md"
    page.write_text(
        "# Слова\n\n<!-- table: toy -->\nold\n<!-- end of table -->\n\nдальше\n", encoding="utf-8"
    )
    assert (
        results.main(["--check"]) == 1
        and "README.ru.md is not what the results say" in capsys.readouterr().err
    )
    assert "old" in page.read_text(encoding="utf-8")
    assert results.main([]) == 0 == results.main(["--check"])
    text = page.read_text(encoding="utf-8")
    assert "| **слово** | **0,91 ± 0,02** |\n| b | не запускалось |\n\nN = 3.\n" in text and text.endswith(
        "\nдальше\n"
    )
    page.write_text("<!-- table: nothing -->\n<!-- end of table -->\n")
    assert results.main([]) == 1 and "unknown table nothing" in capsys.readouterr().err
