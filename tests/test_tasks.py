"""Task regions: where they stand, what is wrong with a mark, what starter code has in their place."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from course import tasks
from course.command_line import ROOT
from course.tasks import tomllib

CODE = '''\
def one(x):
    """Doc."""
    before = 1
    # task hw2.a: the first "half"
    y = x + before

    return y
    # end task


def other():
    # task hw1.b: another homework
    return 2
    # end task
'''


def namespace(text: str) -> dict:
    names: dict = {}
    exec(compile(text, "x.py", "exec"), names)
    return names


def test_regions_have_their_place_and_their_words():
    first, second = tasks.regions(CODE, "x.py")
    assert (first.task, first.what, first.place, first.last) == ("hw2.a", 'the first "half"', "x.py:4", 8)
    assert (second.task, second.homework, second.first) == ("hw1.b", "hw1", 12)


def test_starter_code_lacks_the_homeworks_own_regions_and_nothing_else():
    names = namespace(tasks.cut(CODE, "x.py", "hw2"))
    with pytest.raises(NotImplementedError, match=r'^hw2\.a: the first "half"$'):
        names["one"](1)
    assert names["one"].__doc__ == "Doc." and names["other"]() == 2
    names = namespace(tasks.cut(CODE, "x.py", "hw1"))
    assert names["one"](1) == 2
    with pytest.raises(NotImplementedError, match=r"^hw1\.b: another homework$"):
        names["other"]()
    assert "task" not in tasks.cut(CODE, "x.py", "lab8")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["# task hw2.a: one", "x = 1"], "x.py:1: this task never ends"),
        (["x = 1", "# end task"], "x.py:2: a task ends that never began"),
        (
            ["# task hw2.a: one", "# task hw2.b: two", "# end task"],
            "x.py:2: a task begins inside the one of line 1",
        ),
        (["# task hw2: one", "# end task"], "x.py:1: '# task hw2: one' is no mark"),
        (["# task hw2.a", "# end task"], "x.py:1: '# task hw2.a' is no mark"),
        (["#task hw2.a: one", "# end task"], "x.py:1: '#task hw2.a: one' is no mark"),
        (["# Task hw2.a: one", "# End task"], "x.py:1: '# Task hw2.a: one' is no mark"),
        (["# task hw2.a: one", "x = 1", "# end task."], "x.py:3: '# end task.' is no mark"),
    ],
)
def test_a_wrong_mark_is_named_with_its_line(lines, message):
    with pytest.raises(tasks.TaskError) as error:
        tasks.regions("\n".join(lines), "x.py")
    assert str(error.value).startswith(message)


def test_comments_that_speak_of_tasks_are_no_marks():
    assert tasks.regions("# tasks are data\nx = 1  # task\n", "x.py") == []


def test_in_starter_code_the_lines_to_write_are_listed():
    starter = tasks.cut(CODE, "x.py", "hw2")
    (task,) = tasks.with_regions(
        tasks.listed('[hw2]\na = { points = 5, title = "t" }\n'), [("x.py", starter)]
    )
    assert [(region.place, region.what) for region in task.regions] == [("x.py:4", 'the first "half"')]


def test_a_task_that_the_list_lacks_is_named():
    listed = tasks.listed('[hw2]\na = { points = 5, title = "one" }\n')
    with pytest.raises(tasks.TaskError, match=r"^x.py:12: course/tasks.toml has no task hw1.b"):
        tasks.with_regions(listed, [("x.py", CODE)])


# ---- the course's own


@pytest.fixture(scope="module")
def course() -> list[tasks.Task]:
    return tasks.all_tasks()


def test_points_add_up_to_those_of_the_homeworks(course):
    points = Counter()
    for task in course:
        points[task.homework] += task.points
    assert points == {"hw1": 15, "hw2": 30, "hw3": 15, "hw4": 30, "lab8": 10}


def test_every_task_has_lines_to_write(course):
    assert [task.name for task in course if not task.regions] == []


def test_regions_are_whole_statements_of_one_function(course):
    """So that signature and docstring stay, and what is cut is no half of a statement."""
    for path in {r.path for task in course for r in task.regions if r.path.endswith(".py")}:
        text = (ROOT / path).read_text(encoding="utf-8")
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        for region in tasks.regions(text, path):
            inner = max(
                (f for f in functions if f.lineno < region.first and region.last <= f.end_lineno + 1),
                key=lambda f: f.lineno,
            )
            statements = [
                node for node in ast.walk(inner) if isinstance(node, ast.stmt) and node is not inner
            ]
            inside = [s for s in statements if region.first < s.lineno and s.end_lineno < region.last]
            across = [
                s
                for s in statements
                if s.lineno < region.first < s.end_lineno < region.last
                or region.first < s.lineno < region.last < s.end_lineno
            ]
            assert inside and not across, region.place
            assert not any(isinstance(s, ast.Expr) and s is inner.body[0] for s in inside), region.place


@pytest.mark.parametrize("homework", ["hw1", "hw2", "hw3", "hw4", "lab8"])
def test_starter_code_compiles_and_raises_once_for_every_region(course, homework):
    own = Counter(region.path for task in course if task.homework == homework for region in task.regions)
    for path, count in own.items():
        text = tasks.cut((ROOT / path).read_text(encoding="utf-8"), path, homework)
        if path.endswith(".toml"):
            left = tomllib.loads(text)  # of parts.toml nothing: it builds on hypotheses that were cut
            assert (left or path.endswith("/parts.toml")) and text.count(f"# {homework}.") == count
            continue
        raises = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)
        ]
        assert len(raises) == count and f"{homework}." in ast.unparse(raises[0])


def test_the_command_lists_and_refuses(capsys, monkeypatch):
    assert tasks.main(["hw2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("hw2: 30 points\n  hw2.a   5  ") and "hw1" not in out
    assert tasks.main(["hw9"]) == 2 and "no such homework; there are hw1, hw2" in capsys.readouterr().err
    monkeypatch.setattr(tasks, "homework_files", lambda root: [("common/x.py", "# task hw2.a: one\n")])
    assert tasks.main([]) == 1
    assert capsys.readouterr().err.startswith("course tasks: common/x.py:1: this task never ends")
