"""What two students share: winnowing keeps its guarantee, disguised copies are found, and only those."""

import io
import random

import pytest
from PIL import Image
from plagiarism import as_notebook, partial, program, renamed, reordered
from student_writing import picture

from course.mentor import notebooks, pictures, similarity


def student(code: str | bytes, place: str = "work.py", images: tuple[bytes, ...] = ()) -> dict:
    """The evidence of a student with one file of code."""
    if isinstance(code, bytes):
        page = notebooks.read("work.ipynb", code)
        pieces = [(block.where, block.text) for block in page.blocks if block.kind == "code"]
    else:
        pieces = [(place, code)]
    gallery = []
    for index, content in enumerate(images):
        seen = pictures.look(content)
        hash_ = "" if seen.looks_drawn else seen.hash
        gallery.append(
            {
                "label": f"p{index}",
                "where": "README.md:1",
                "status": "ok",
                "digest": seen.digest,
                "hash": hash_,
                "jpeg": "",
            }
        )
    return {"works": {"hw2": {"code": similarity.units(pieces), "gallery": gallery}}}


def pairs(group: dict[str, dict], given: frozenset[int] = frozenset()) -> set[frozenset[str]]:
    return {frozenset((pair["first"], pair["second"])) for pair in similarity.compare(group, set(given))}


def test_every_window_keeps_its_smallest_hash():
    hashes = [random.Random(1).randrange(50) for _ in range(400)]
    kept = similarity.winnow(hashes, 8)
    assert kept == sorted(set(kept))
    for start in range(len(hashes) - 7):
        window = range(start, start + 8)
        rightmost = max(window, key=lambda place: (-hashes[place], place))
        assert rightmost in kept


@pytest.mark.parametrize("shift", [0, 1, 7, 30])
def test_a_shared_run_of_the_guaranteed_length_is_found_wherever_it_stands(shift):
    """Schleimer et al.: at least one fingerprint of any shared run of TOKENS + WINDOW - 1 tokens."""
    length = similarity.TOKENS + similarity.WINDOW - 1
    shared = " ".join(f"a.m{index}" for index in range(-(-length // 3) + 1))
    one = {value for value, *_ in similarity.fingerprints("b.x " * 60 + shared + " b.y" * 60)}
    other = {value for value, *_ in similarity.fingerprints("c.z " * (40 + shift) + shared + " c.w" * 60)}
    assert one & other


def test_names_numbers_strings_and_comments_do_not_count_and_library_names_do():
    words = lambda text: [word for word, *_ in similarity.tokens(text)]
    assert words("x = y + 1  # c\n") == words("'''d'''\nlong_name = other + 2.5\n")
    assert words("f('a')") == words('g(f"b {c}")') or words("f('a')") == words("g('b')")
    assert words("torch.exp(x)") != words("torch.log(x)")
    assert words("self.a(x)") == words("self.b(y)")


def test_a_line_is_where_the_fingerprint_begins():
    text = "\n" * 10 + program(1, 1)
    assert min(line for _, line, _ in similarity.fingerprints(text)) >= 11


DISGUISES = {
    "the same": lambda text, seed: text,
    "renamed": renamed,
    "reordered": reordered,
    "renamed and reordered": lambda text, seed: reordered(renamed(text, seed), seed),
    "as a notebook": lambda text, seed: as_notebook(text),
    "renamed, as a notebook": lambda text, seed: as_notebook(renamed(text, seed)),
    "four functions of ten": lambda text, seed: partial(text, program(5000 + seed)),
    "four functions of ten, renamed": lambda text, seed: partial(renamed(text, seed), program(5000 + seed)),
}


def test_disguised_copies_are_found_and_nothing_else():
    """Precision and recall over 32 students who copy in eight ways, among 40 who do not: measured 1 and 1."""
    group = {f"own{index}": student(program(index)) for index in range(40)}
    truth = set()
    for index in range(32):
        disguise = list(DISGUISES.values())[index % len(DISGUISES)]
        group[f"copy{index}"] = student(disguise(program(index), index))
        truth.add(frozenset((f"own{index}", f"copy{index}")))
    found = pairs(group)
    assert len(found & truth) / len(truth) >= 0.95, truth - found
    assert len(found & truth) / len(found) >= 0.95, found - truth


def test_what_everyone_was_given_and_what_many_have_is_no_copy():
    given = program(900, 6)  # more than half of each student's file
    prints = frozenset(value for value, *_ in similarity.fingerprints(given))
    group = {f"s{index}": student(given + "\n\n" + program(index, 3)) for index in range(3)}
    assert pairs(group, prints) == set()
    assert len(pairs(group)) == 3, "without knowing what was given"
    many = {f"s{index}": student(given + "\n\n" + program(index, 3)) for index in range(8)}
    assert pairs(many) == set()


def test_the_matching_places_stand_side_by_side():
    code = program(3, 4)
    group = {"a": student(code), "b": student("# mine\n" * 30 + renamed(code, 1))}
    (pair,) = similarity.compare(group, set())
    assert pair["first_text"].split("\n")[0].strip() and pair["second_text"].strip()
    assert int(pair["second_place"].rsplit(":", 1)[1].split("-")[0]) > 30
    assert pair["share"] > 0.8


def test_pictures_that_are_equal_or_look_alike():
    original = Image.open(io.BytesIO(picture(5, size=200)))
    file = io.BytesIO()
    original.resize((150, 150)).save(file, "JPEG", quality=60)
    group = {
        "a": student("", images=(picture(5, size=200), picture(1, "plot"))),
        "b": student("", images=(file.getvalue(), picture(2, "plot"))),
        "c": student("", images=(picture(6, size=200), picture(1, "plot"))),
        "d": student("", images=tuple(picture(seed) for seed in range(10, 60))),
    }
    found = {
        frozenset((pair["first"], pair["second"])): pair["note"] for pair in similarity.compare(group, set())
    }
    assert found.keys() == {frozenset("ab"), frozenset("ac")}
    assert found[frozenset("ac")] == "the very same file"
    assert "bits differ" in found[frozenset("ab")]


def test_what_is_carried_along_from_work_to_work_is_said_once():
    one, other = (student(code, images=(picture(5, size=200),)) for code in (program(1), program(1) + "\n"))
    for each in (one, other):
        each["works"]["hw3"] = each["works"]["hw4"] = each["works"]["hw2"]
    found = similarity.compare({"a": one, "b": other}, set())
    assert sorted(pair["kind"] for pair in found) == ["code", "picture"]
    assert all(pair["first_place"].startswith("hw2: ") for pair in found)


def test_a_picture_that_many_have_is_public():
    group = {f"s{index}": student("", images=(picture(5),)) for index in range(8)}
    assert pairs(group) == set()


def test_broken_code_is_compared_all_the_same():
    code = program(4).replace(":\n", "\n", 3) + "\n!pip install x\n%%time\n'unclosed"
    assert pairs({"a": student(code), "b": student(renamed(program(4), 2))}) == {frozenset("ab")}


def test_given_files_are_read_once_and_kept(tmp_path):
    (tmp_path / "starter.py").write_text(program(77))
    cache = tmp_path / "starter.json"
    prints = similarity.starter_units([tmp_path / "starter.py"], cache)
    assert {value for value, *_ in similarity.fingerprints(program(77))} <= prints
    assert similarity.letters(program(77)) in prints
    published = similarity.PUBLISHED.read_text(encoding="utf-8")
    assert {value for value, *_ in similarity.hashes(published)} <= prints
    kept = cache.stat().st_mtime_ns
    assert similarity.starter_units([tmp_path / "starter.py"], cache) == prints
    assert cache.stat().st_mtime_ns == kept
    (tmp_path / "starter.py").write_text(program(78))
    assert {value for value, *_ in similarity.fingerprints(program(78))} <= similarity.starter_units(
        [tmp_path / "starter.py"], cache
    )
