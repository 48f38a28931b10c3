"""Trees and objects that were made to do harm, and lists of students, are read with caps."""

import hashlib
import zlib
from pathlib import Path

from common.errors import InputError

import pytest
from student_repositories import Commit, build, git, point, tree, write_object

from course.mentor import repositories, students
from course.mentor.objects import Objects, Unreadable, shown
from course.mentor.repositories import Unavailable
from course.mentor.students import Student

pytest.importorskip("resource", reason="limits as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent


def mirror(tmp_path: Path, source: Path, **limits) -> repositories.Mirror:
    return repositories.update(Student("s", str(source)), tmp_path / "mirror.git", **limits)


# ---- hostile trees


def hostile(tmp_path: Path, make) -> tuple[repositories.Mirror, str]:
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    point(source, "homework_1", make(source))
    found = mirror(tmp_path, source)
    return found, next(each.commit for each in found.references if each.name == "homework_1")


def test_names_that_lead_out_are_left_out_and_counted(tmp_path):
    def make(source):
        blob = write_object(source, "blob", b"x")
        names = [
            b"..",
            b".",
            b".git",
            b".GIT",
            b"../../etc/passwd",
            b"/etc/passwd",
            b"a\\..\\b",
            b"x" * 4000,
            b"ok.txt",
        ]
        return write_object(source, "tree", tree([("100644", name, blob) for name in names]))

    found, commit = hostile(tmp_path, make)
    with Objects(found.folder) as objects:
        read = objects.tree(commit)
    assert [file.path for file in read.files] == ["ok.txt"]
    assert sum(int(note.rsplit(" ", 1)[1]) for note in read.notes) == 8


def test_strange_names_are_read_and_shown_on_one_line(tmp_path):
    names = [b"new\nline.md", b"bell\x07.md", "\u202egnp.exe".encode(), b"\xff\xfe.md", "Отчёт.md".encode()]

    def make(source):
        blob = write_object(source, "blob", b"x")
        return write_object(source, "tree", tree([("100644", name, blob) for name in sorted(names)]))

    found, commit = hostile(tmp_path, make)
    with Objects(found.folder) as objects:
        paths = [file.path for file in objects.tree(commit).files]
    assert len(paths) == len(names)
    visible = {shown(path) for path in paths}
    assert visible == {"new\\x0aline.md", "bell\\x07.md", "\\x202egnp.exe", "\\xff\\xfe.md", "Отчёт.md"}
    assert shown("a" * 500) == "a" * 159 + "…"


def test_links_and_submodules_are_named_and_not_followed(tmp_path):
    def make(source):
        target = write_object(source, "blob", b"/etc/passwd")
        return write_object(source, "tree", tree([("120000", b"link", target), ("160000", b"sub", "1" * 40)]))

    found, commit = hostile(tmp_path, make)
    with Objects(found.folder) as objects:
        assert [(file.path, file.kind) for file in objects.tree(commit).files] == [
            ("link", "link"),
            ("sub", "submodule"),
        ]


def test_ten_thousand_levels_of_folders(tmp_path):
    def make(source):
        inner = write_object(source, "blob", b"x")
        content, lines = inner, []
        for level in range(10_000):
            lines.append(content)
            raw = tree([("40000" if level else "100644", b"d", content)])
            content = hashlib.sha1(b"tree %d\0" % len(raw) + raw).hexdigest()
            place = source / "objects" / content[:2]
            place.mkdir(exist_ok=True)
            (place / content[2:]).write_bytes(zlib.compress(b"tree %d\0" % len(raw) + raw, 1))
        return content

    try:
        found, commit = hostile(tmp_path, make)
    except Unavailable as error:  # git itself may refuse so deep a tree
        assert "\n" not in str(error)
        return
    with Objects(found.folder) as objects:
        read = objects.tree(commit)
    assert read.files == []
    assert read.notes == ["folders more than 40 deep, not looked into: 1"]


def test_a_tree_that_unfolds_to_billions_of_files_is_cut(tmp_path):
    def make(source):
        entries = [("100644", b"%d" % i, write_object(source, "blob", b"x")) for i in range(10)]
        for _ in range(9):
            folder = write_object(source, "tree", tree(entries))
            entries = [("40000", b"%d" % i, folder) for i in range(10)]
        return write_object(source, "tree", tree(entries))

    found, commit = hostile(tmp_path, make)
    with Objects(found.folder) as objects:
        read = objects.tree(commit)
    assert len(read.files) <= 20_000
    assert any("the rest is not looked at" in note for note in read.notes)


def test_a_hundred_thousand_files_are_cut(tmp_path):
    def make(source):
        blob = write_object(source, "blob", b"x")
        return write_object(source, "tree", tree([("100644", b"%06d" % i, blob) for i in range(100_000)]))

    found, commit = hostile(tmp_path, make)
    with Objects(found.folder) as objects:
        assert len(objects.tree(commit).files) == 20_000


def test_a_quarter_of_a_gigabyte_of_zeros_is_not_unpacked(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    squeeze = zlib.compressobj(1)
    header = b"blob %d\0" % (256 << 20)
    digest, block = hashlib.sha1(header), bytes(1 << 20)
    packed = [squeeze.compress(header)]
    for _ in range(256):
        digest.update(block)
        packed.append(squeeze.compress(block))
    name = digest.hexdigest()
    (source / "objects" / name[:2]).mkdir(exist_ok=True)
    (source / "objects" / name[:2] / name[2:]).write_bytes(b"".join([*packed, squeeze.flush()]))
    point(source, "homework_1", write_object(source, "tree", tree([("100644", b"big.bin", name)])))
    git(source, "config", "uploadpack.allowFilter", "false")  # then it has to be fetched
    found = mirror(tmp_path, source)
    with Objects(found.folder) as objects, pytest.raises(Unreadable, match="too large: 256 MB"):
        objects.read(name, 64 << 20)


# ---- who is to be graded


def write_csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "students.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (
            "student_id,last_name,first_name,email,repository\nivanov,Иванов,Иван,i@e.org,https://host/a/b\n",
            "utf-8",
        ),
        ("student_id;фамилия;имя;почта;репозиторий\nivanov;Иванов;Иван;i@e.org;https://host/a/b\n", "cp1251"),
        (
            "\ufeffЛогин\tФИО\tEmail\tСсылка\nivanov\tИванов Иван\ti@e.org\thttps://host/a/b/tree/hw_1\n",
            "utf-8",
        ),
    ],
)
def test_lists_as_spreadsheets_save_them(tmp_path, text, encoding):
    assert students.read(write_csv(tmp_path, text, encoding)) == [
        Student("ivanov", "https://host/a/b", "Иванов", "Иван", "i@e.org")
    ]


def test_paths_begin_where_the_list_lies(tmp_path):
    found = students.read(write_csv(tmp_path, "id,path\na,repositories/a\nb,git@host:x/y.git\n"))
    assert [each.source for each in found] == [str(tmp_path / "repositories/a"), "git@host:x/y.git"]
    assert [each.protocol for each in found] == ["file", "ssh"]


def test_a_folder_of_repositories(tmp_path):
    for name in ("petrov", "Иванов И"):
        (tmp_path / "group" / name).mkdir(parents=True)
    found = students.read(tmp_path / "group")
    assert [each.id for each in found] == ["petrov", students.identifier("Иванов И")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("who,what\na,b\n", "columns `student_id` and `repository` are needed"),
        ("id,repo\n", "no rows in it"),
        ("id,repo\na,x\nA,y\n", "stands there twice"),
        ("id,repo\n,x\n", "line 2 names no student"),
        ("", "columns `student_id`"),
    ],
)
def test_a_wrong_list_is_one_line(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as error:
        students.read(write_csv(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "x\ny", "Ы", "-rf", "a" * 300])
def test_an_id_is_a_file_name(name):
    found = students.identifier(name)
    assert "/" not in found and not found.startswith((".", "-")) and len(found) < 70 and found.isprintable()
