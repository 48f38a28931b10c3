"""What is read of a submission: where it lies, its pages, pictures, requirements, numbers and dates."""

import base64
import datetime
import io
import json
import re
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image
from student_class import picture
from student_repositories import Commit, build, git, point, seconds, tree, write_object

from course.mentor import (
    assessment,
    history,
    markdown,
    notebooks,
    numbers,
    pictures,
    requirements_files,
    rubric,
    said,
    targets,
    words,
)
from course.mentor.history import Commit as Dated
from course.mentor.objects import shown
from course.mentor.students import Student

pytest.importorskip("resource", reason="limits as POSIX has them")
COURSE, RUBRIC, _ = rubric.read()
NAMES = RUBRIC.names


def assess(tmp_path: Path, commits: list[Commit], head: str = "main", source: str | None = None) -> dict:
    folder = build(tmp_path / "s", commits, head)
    student = Student("s", source or str(folder), "Иванов", "Иван")
    return assessment.assess(student, tmp_path / "m.git", COURSE, RUBRIC, "", None, assessment.Options())


def page(text: str) -> markdown.Page:
    return markdown.read("README.md", text.encode())


# ---- where a homework lies


@pytest.mark.parametrize(
    ("name", "work"),
    [
        *(
            (name, "hw1")
            for name in ("homework_1", "homework1", "Homework-1", "hw1", "HW_01", "HW-1", "hw_1")
        ),
        *(
            (name, "hw1")
            for name in ("1_homework", "HW_1.Bayes_stuff", "дз1", "ДЗ №1", "Домашняя работа 1", "homewrok_1")
        ),
        *(
            (name, "hw2")
            for name in ("student/homework_2", "feature/gan", "Лабораторная работа №2", "Homework 2: CSPup")
        ),
        *((name, "lab8") for name in ("lab8", "lab_8", "Lab-08", "lab_08_generative")),
        *(
            (name, None)
            for name in ("main", "master", "dev", "hw10", "homework_12", "week1", "v2", "h4ck", "fix", "")
        ),
    ],
)
def test_names_of_branches_and_folders(name, work):
    assert NAMES.work(name) == work


START = Commit("main", {"a": "1"})
PAGE = "# Homework\n\nSome words about the task of this homework.\n"


@pytest.mark.parametrize(
    ("commits", "place", "how"),
    [
        ([START, Commit("homework_1", {"README.md": PAGE})], "homework_1", "branch"),
        ([Commit("main", {"hw_1/README.md": PAGE, "README.md": "# Me"})], "main:hw_1/", "folder"),
        ([Commit("main", {"work/HW1/readme.MD": PAGE})], "main:work/HW1/", "folder"),
        ([START, Commit("hw1", {"hw1/README.md": PAGE, "x.py": "x"})], "hw1:hw1/", "branch"),
        (
            [START, Commit("refs/pull/3/head", {"hw1/README.md": PAGE})],
            "pull request 3:hw1/",
            "pull request",
        ),
        ([START, Commit("refs/remotes/origin/hw1", {"README.md": PAGE})], "origin/hw1", "branch"),
        ([Commit("main", {"README.md": "# Homework 1\n\nVAE on digits"})], "main", "title"),
        (
            [START, Commit("hw2", {"hw1/README.md": PAGE, "hw2/README.md": PAGE})],
            "hw2:hw1/",
            "carried folder",
        ),
    ],
)
def test_places_where_people_put_a_homework(tmp_path, commits, place, how):
    found = assess(tmp_path, commits)["works"]["hw1"]
    assert (found["place"], found["how"]) == (place, how)


def test_a_branch_that_carries_earlier_homeworks_shows_its_own(tmp_path):
    earlier = {"hw1/README.md": "# HW 1\n\nThe task of the first one.", "hw1/styles.py": "bayes = 1"}
    own = {"hw2/README.md": "# HW 2\n\nThe task of the second one.", "hw2/gan.py": "class Generator: pass"}
    found = assess(tmp_path, [START, Commit("hw2", {**earlier, **own})])["works"]["hw2"]
    assert found["place"] == "hw2:hw2/"
    assert found["items"]["files"]["places"] == ["hw2/gan.py"]


def test_the_same_homework_on_main_and_on_a_branch(tmp_path):
    commits = [
        Commit("hw1", {"README.md": PAGE}, date="2024-02-01"),
        Commit("main", {"hw1/README.md": PAGE + "More.", "README.md": "# Me"}, date="2024-03-01"),
    ]
    found = assess(tmp_path, commits)["works"]["hw1"]
    assert found["place"] == "hw1"
    assert found["others"] == ["newer than this one: main:hw1/", "main:hw1/ (folder)"]


def test_no_main_at_all(tmp_path):
    found = assess(
        tmp_path, [Commit("homework_2", {"README.md": PAGE, "gan.py": "x = 1"})], head="homework_2"
    )
    assert found["works"]["hw2"]["place"] == "homework_2"


def test_a_stale_page_on_top_is_not_the_homeworks(tmp_path):
    main = {"README.md": "# Ivanov\n\nThe data set is faces and the conclusions follow."}
    commits = [Commit("main", main), Commit("hw1", {"hw1/a.py": "x = 1"}, start="main")]
    items = assess(tmp_path, commits)["works"]["hw1"]["items"]
    assert items["readme"]["status"] == items["conclusions"]["status"] == "missing"


def test_only_a_link_to_kaggle_is_code_elsewhere(tmp_path):
    text = PAGE + "\nThe code: https://www.kaggle.com/code/me/gan\n"
    items = assess(tmp_path, [Commit("hw2", {"README.md": text})], head="hw2")["works"]["hw2"]["items"]
    assert items["files"]["status"] == "external"
    assert items["generator_code"]["status"] == "external"
    assert items["platform"]["status"] == "found"


# ---- pages


def test_headings_of_every_kind_and_bold_lines_are_sections():
    found = page("# A\n\nx\n\n### B\n\ny\n\n**C**\nz\n\n<h2>D</h2>\n\nw\n\n1. One\n")
    assert [(block.kind, block.section) for block in found.blocks if block.kind == "heading"] == [
        ("heading", "A"), ("heading", "A / B"), ("heading", "A / B / C"), ("heading", "A / D")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("![a](x.png)", "x.png"),
        ('![a](x.png "title")', "x.png"),
        ("![a](my%20images/x.png)", "my%20images/x.png"),
        ("![a](my images/x.png)", "my images/x.png"),
        ("![a](plot (1).png)", "plot (1).png"),
        ("![a](<plot 1.png>)", "plot%201.png"),
        ('<img src="x.png" width=10>', "x.png"),
        ("<p align='center'><IMG SRC='x.png'></p>", "x.png"),
        ("<image src=x.png>", "x.png"),
        ("text ![a][ref]\n\n[ref]: x.png", "x.png"),
        ("| a |\n|---|\n| ![a](x.png) |", "x.png"),
        ("- item ![a](x.png)", "x.png"),
        ("[![a](x.png)](https://e.org)", "x.png"),
    ],
)
def test_pictures_as_people_put_them_into_pages(text, target):
    assert [each.target for each in page(text).pictures] == [target]


@pytest.mark.parametrize(
    "text", ["`![a](x.png)`", "```\n![a](x.png)\n```", "<!-- ![a](x.png) -->", "\\![a](b)"]
)
def test_what_is_no_picture(text):
    assert page(text).pictures == []


@pytest.mark.parametrize(
    ("content", "text"),
    [("Датасет".encode("cp1251"), "Датасет"), ("\ufeffДа".encode(), "Да"), ("Да".encode("utf-16"), "Да")],
)
def test_encodings_that_editors_leave(content, text):
    assert markdown.decoded(content) == text


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 300_000, "![" * 200_000, "`" * 600_000, "*a " * 200_000, "<a " * 200_000, "> " * 100_000),
        *(
            "a\n" * 300_000,
            "|a" * 300_000,
            "<!--" * 100_000,
            "[a](" * 100_000,
            "x" * 10_000_000,
            "- " * 50_000,
        ),
        *("**a**\n" * 50_000, "&" * 500_000, "![a](" + "b" * 500_000 + ".png)"),
        "\n".join(" " * n + "- a" for n in range(2000)),
    ],
    ids=lambda text: repr(text[:6]),
)
def test_pages_that_are_made_to_be_slow_are_given_up(text):
    started = time.process_time()
    found = page(text)
    assert time.process_time() - started < 4 * markdown.SECONDS
    assert len(found.blocks) <= markdown.MOST_BLOCKS


# ---- notebooks


def notebook(*cells: object, **more: object) -> bytes:
    return json.dumps({"cells": list(cells), "nbformat": 4, **more}).encode()


def test_a_notebook_of_every_kind_of_cell():
    png = base64.b64encode(picture(1)).decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Data\n", "text"]},
        {
            "cell_type": "markdown",
            "source": "![a](attachment:x.png)",
            "attachments": {"x.png": {"image/png": png}},
        },
        {
            "cell_type": "code",
            "source": ["x = 1\n", "y"],
            "outputs": [{"text": ["FID ", "4.5"]}, {"data": {"image/png": png, "text/plain": "<Figure>"}}],
        },
    ]
    found = notebooks.read("a.ipynb", notebook(*cells))
    assert [block.kind for block in found.blocks] == ["heading", "text", "code", "output", "output"]
    assert found.blocks[3].text == "FID 4.5"
    assert found.blocks[2].section == "Data", "a heading holds for the cells that follow"
    assert [each.data for each in found.pictures] == [picture(1), picture(1)]
    assert found.notes == []


def test_version_3_of_the_format():
    cells = [{"cell_type": "code", "input": "x", "outputs": [{"png": base64.b64encode(b"p").decode()}]}]
    found = notebooks.read("a.ipynb", json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}).encode())
    assert (found.blocks[0].text, found.pictures[0].data) == ("x", b"p")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"", "not JSON"),
        (b'{"cells": [', "not JSON"),
        (b"[" * 100_000, "not JSON|nested too deeply"),
        (b"[1, 2]", "no notebook"),
        (b'{"cells": 5}', "no notebook"),
        (notebook(1, None, {"cell_type": "code", "source": 5, "outputs": 7}), "damaged: 3"),
        (notebook(*[{"cell_type": "code", "source": ""}] * 5000), "only the first 3000"),
    ],
)
def test_notebooks_that_are_none(content, note):
    assert re.search(note, "; ".join(notebooks.read("a.ipynb", content).notes))


def test_outputs_with_scripts_are_not_taken():
    output = {
        "data": {"text/html": "<script>x</script>", "application/javascript": "x", "image/svg+xml": "<svg/>"}
    }
    found = notebooks.read("a.ipynb", notebook({"cell_type": "code", "source": "x", "outputs": [output]}))
    assert [block.kind for block in found.blocks] == ["code"]
    assert found.pictures == []


# ---- pictures


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_pictures_of_the_common_formats(form):
    found = pictures.look(encoded(Image.effect_noise((80, 60), 90).convert("RGB"), form))
    assert (found.trouble, found.width, found.height, found.format) == ("", 80, 60, form)
    assert Image.open(io.BytesIO(base64.b64decode(found.thumbnail))).format == "JPEG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "F"])
def test_pictures_of_every_mode(mode):
    form = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    content = encoded(Image.new(mode, (40, 30)), form)
    assert pictures.look(content).trouble == ("not a picture" if form == "TIFF" else "")


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "broken|not a picture"),
        (picture(1)[:200], "broken"),
        (b"%PDF-1.4", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not a picture"),
        (bytes(pictures.MOST_BYTES + 1), "larger than"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_pictures_that_do_not_decode(content, trouble):
    assert re.search(trouble, pictures.look(content).trouble)


@pytest.mark.parametrize("side", [8_000, 12_000, 30_000])
def test_a_bomb_is_told_from_its_header(side):
    chunk = lambda kind, data: (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    content = (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    )
    started = time.process_time()
    assert "million pixels" in pictures.look(content).trouble
    assert time.process_time() - started < 2


def test_an_animation_of_many_frames_is_not_walked_through():
    frame = encoded(Image.new("P", (2, 2)), "GIF")
    block = frame[frame.index(b",") : -1]
    content = frame[:-1] + block * 300_000 + b";"
    started = time.process_time()
    found = pictures.look(content)
    assert time.process_time() - started < 5
    assert found.animated


def test_a_plot_is_told_from_a_photograph():
    assert pictures.look(picture(1, "plot")).looks_drawn
    assert not pictures.look(picture(1)).looks_drawn


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("x.png", ["hw1/x.png", "x.png"]),
        ("./x.png", ["hw1/x.png", "x.png"]),
        ("../img/x.png", ["img/x.png"]),
        ("/img/x.png", ["img/x.png"]),
        ("img%2Fx.png", ["hw1/img%2Fx.png", "hw1/img/x.png", "img/x.png"]),
        ("x.png?raw=true", ["hw1/x.png", "hw1/x.png?raw=true", "x.png?raw=true"]),
        ("img\\x.png", ["hw1/img/x.png", "hw1/img\\x.png", "img\\x.png"]),
        ("%D0%B0.png", ["hw1/%D0%B0.png", "hw1/а.png", "а.png"]),
        ("../../../etc/passwd", []),
        ("javascript:alert(1)", []),
    ],
)
def test_what_a_target_means(target, paths):
    assert targets.paths(target, "hw1/README.md", "https://host/me/work", "hw1")[0] == paths


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://host/me/work/blob/homework_1/img/x.png?raw=true", "img/x.png"),
        ("https://host/me/work/raw/main/img/x.png", "img/x.png"),
        ("https://raw.host/me/work/homework_1/x.png", "x.png"),
        ("https://host/me/work/-/raw/feature/x.png", "x.png"),
        ("https://host/other/work/blob/homework_1/x.png", None),
        ("https://host/user-attachments/assets/123", None),
        ("//host/x.png", None),
    ],
)
def test_addresses_of_the_same_repository(address, path):
    for source in ("https://host/me/work", "git@host:me/work.git"):
        found, elsewhere = targets.paths(address, "README.md", source, "homework_1")
        assert (found, elsewhere) == ([path] if path else [], True)


def test_pictures_elsewhere_are_not_missing_and_lost_ones_are(tmp_path):
    text = PAGE + "![Loss](https://e.org/loss.png)\n\n![FID](fid.png)\n\n![Avatar](avatar.png)\n"
    files = {"README.md": text, "avatar.png": b"\x89PNG broken"}
    found = assess(tmp_path, [Commit("hw1", files)], head="hw1")["works"]["hw1"]
    status = {name: found["items"][name]["status"] for name in ("loss_curve", "metric_curve", "avatars")}
    assert status == {"loss_curve": "external", "metric_curve": "missing", "avatars": "unreadable"}
    assert found["remarks"] == ["README.md:6 shows fid.png, which is not there"]


# ---- requirements


@pytest.mark.parametrize(
    ("path", "content", "counts", "note"),
    [
        ("requirements.txt", "torch==2.1\nnumpy\n# c\n", (1, 1), ""),
        ("requarements.txt", "torch==2.1\n", (1, 0), "misspelt"),
        ("requirements.txt", "numpy=1.2=py_0\ntorch == 2.1\n", (1, 0), "pip would refuse line 1"),
        ("requirements.txt", "a @ file:///home/me/a.whl\nb==1\n", (1, 0), "another computer"),
        (
            "requirements.txt",
            "-i https://evil.example\n--trusted-host x\nb==1 --hash=sha256:00\n",
            (1, 0),
            "options of pip",
        ),
        ("requirements.txt", "git+https://host/a/b@v1\nhttps://host/x.whl\n", (1, 1), ""),
        ("pyproject.toml", '[project]\ndependencies = ["a==1", "b>=2"]', (1, 1), ""),
        (
            "pyproject.toml",
            '[tool.poetry.dependencies]\npython = "^3.10"\na = "1.2"\nb = {version = "^3"}',
            (1, 1),
            "",
        ),
        ("pyproject.toml", "[[", (0, 0), "damaged"),
        ("poetry.lock", '[[package]]\nname = "a"\nversion = "1"', (1, 0), ""),
        ("uv.lock", '[[package]]\nname = "a"\nversion = "1"', (1, 0), ""),
        ("environment.yml", "dependencies:\n  - python=3.10\n  - pip:\n    - a==1\n    - b\n", (2, 2), ""),
    ],
)
def test_requirements_in_every_file(path, content, counts, note):
    assert requirements_files.is_requirements(path)
    found = requirements_files.read(path, content.encode())
    assert (found.pinned, found.unpinned) == counts
    assert note in "; ".join(found.notes)


def test_a_freeze_of_powershell_is_read():
    assert requirements_files.read("requirements.txt", "a==1\r\nb==2\r\n".encode("utf-16")).pinned == 2


def test_install_cells():
    found = requirements_files.from_cells(
        [("a.ipynb cell 1", "!pip install -q torch==2.1 lpips\n%pip install x==1")]
    )
    assert [(each.pinned, each.unpinned) for each in found] == [(2, 1)]


# ---- words, numbers, names


@pytest.mark.parametrize(
    ("text", "term", "says"),
    [
        ("Наш набор данных", "набор дан", True),
        ("наборы даных", "набор дан", True),
        ("Эксперемент", "эксперимент", True),
        ("зелёный", "зелен", True),
        ("результат сравнения", "сравнен", True),
        ("lossy", "loss$", False),
        ("data", "date", False),
    ],
)
def test_terms_are_beginnings_of_words_with_a_slip_forgiven(text, term, says):
    assert (words.says(words.words(text), term) >= 0) is says


def test_names_in_code_are_taken_apart():
    assert {"cspupblock", "csp", "up", "block"} <= words.identifiers("class CSPUpBlock: pass")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("FID 45,93 and 0.75", [45.93, 0.75]),
        ("60 000 картинок", [60000]),
        ("10k images, 1,024 of them", [10000, 1024]),
        ("stylegan2 x3 v1", []),
        ("202599", [202599]),
    ],
)
def test_numbers_as_people_write_them(text, values):
    assert numbers.values(numbers.NUMBER.findall(text)) == values


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ivanov Ivan", True), ("Иванов И.", True), ("ИВАНОВ ИВАН", True), ("Студент: ivanov", True),
        ("Ivan", True), ("Курс генеративных моделей", False), ("Сидоров Пётр", False),
    ],
)  # fmt: skip
def test_a_name_in_either_alphabet(tmp_path, text, found):
    status = assess(tmp_path, [Commit("main", {"README.md": f"# Page\n\n{text}\n"})])["main"]["name"][
        "status"
    ]
    assert status == ("found" if found else "missing")


def test_a_metric_named_without_a_value_is_said(tmp_path):
    text = PAGE + "The threshold was chosen by eye. The TPR is 0,75.\n"
    items = assess(tmp_path, [Commit("hw1", {"README.md": text})], head="hw1")["works"]["hw1"]["items"]
    assert items["tpr"]["status"] == "found"
    assert items["threshold"] == {
        "status": "missing",
        "places": [],
        "note": "README.md:3: named without a value",
    }


# ---- dates

DEADLINE, LAST = seconds("2024-03-09") + 40_000, seconds("2024-06-22")


@pytest.mark.parametrize(
    ("authored", "committed", "seen", "status"),
    [
        ("2024-03-08", "2024-03-08", None, "on time"),
        ("2024-03-11", "2024-03-11", None, "late"),
        ("2024-03-08", "2024-03-20", None, "unclear"),
        ("2024-03-08", "2024-07-20", None, "not accepted"),
        ("2024-03-01", "2024-03-08", None, "unclear"),
        ("2030-01-01", "2030-01-01", "2024-03-08", "on time"),
        ("1999-01-01", "1999-01-01", None, "unclear"),
    ],
)
def test_what_dates_say(authored, committed, seen, status):
    commits = [Dated("a" * 40, seconds(authored), seconds(committed))]
    found = history.judge(commits, DEADLINE, LAST, seen and seconds(seen), now=seconds("2026-01-01"))
    assert found.status == status


def test_the_version_by_the_deadline_is_named():
    commits = [
        Dated("b", seconds("2024-03-20"), seconds("2024-03-20")),
        Dated("a", seconds("2024-03-01"), seconds("2024-03-01")),
    ]
    found = history.judge(commits, DEADLINE, LAST, None, now=seconds("2026-01-01"))
    assert (found.status, found.version_in_time, found.commits_in_time) == ("late", "a", 1)


def test_a_deadline_is_the_end_of_its_day_in_moscow():
    assert history.end_of_day(datetime.date(2024, 3, 9), 3) == pytest.approx(1710017999.999999)


# ---- remarks


def test_numbers_and_pictures_that_do_not_fit(tmp_path):
    cell = {"cell_type": "code", "source": "x", "outputs": [{"text": "fid: 45.9312"}]}
    text = PAGE + "FID is 45.93, MSE is 0.0265.\n\n![one](a.png) ![two](b.png)\n\n[code](train.ipynb)\n"
    files = {"README.md": text, "a.png": picture(1), "b.png": picture(1), "work.ipynb": notebook(cell)}
    assert assess(tmp_path, [Commit("hw1", files)], head="hw1")["works"]["hw1"]["remarks"] == [
        "one and the same picture is shown as one (README.md:6) and two (README.md:6)",
        "README.md:8 names train.ipynb, which is not there",
        "README.md:3: 0.0265 stands in no output of the notebooks",
    ]


def test_every_remark_has_its_russian():
    for line in (
        "one and the same picture is shown as one and two",
        "README.md:6 names train.ipynb, which is not there",
        "2 of 5 pictures; x.png: broken picture",
        "3 with a version, 1 without; r.txt: pip would refuse line 2 and 3 more",
        "/tmp/group/x: not a git repository",
        "took longer than 120 s: see --seconds",
        "homework_1: names that lead out of the folder or into .git, left out: 3",
        "a.ipynb: not read: not JSON: damaged or cut off",
        "gan.ipynb: too large: 200 MB (at most 48 MB are read)",
    ):
        assert said.translated(line)
        assert re.search("[а-я]{3}", said.line(line, "ru"))
    assert not said.translated("something new")


def test_a_slow_git_or_odd_objects_are_one_status(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    blob = write_object(source, "blob", b"# Homework\n")
    names = sorted([b"README.md\n.png", "\u202ereadme.md".encode(), b"readme.md", b"../x"])
    point(
        source, "homework_1", write_object(source, "tree", tree([("100644", name, blob) for name in names]))
    )
    git(source, "pack-refs", "--all")
    found = assessment.assess(
        Student("s", str(source)), tmp_path / "m.git", COURSE, RUBRIC, "", None, assessment.Options()
    )
    assert found["status"] == "read"
    assert shown("\u202e") not in ("\u202e",)
    assert json.dumps(found)
