"""Students' repositories as untrusted data: what is fetched, and that nothing of it runs."""

import ast
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from student_repositories import Commit, build, git

from course.mentor import git as hardened
from course.mentor import repositories
from course.mentor.git import GitError, Limits
from course.mentor.objects import Objects, Unreadable
from course.mentor.repositories import Unavailable
from course.mentor.students import Student

pytest.importorskip("resource", reason="limits as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent


def mirror(tmp_path: Path, source: Path, **limits) -> repositories.Mirror:
    return repositories.update(Student("s", str(source)), tmp_path / "mirror.git", **limits)


def running(*command: str) -> bool:
    """Whether a process with this command line lives."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place.read_bytes().split(b"\0")[:-1] == [word.encode() for word in command]:
                return True
        except OSError:
            continue
    return False


def files_of(found: repositories.Mirror, branch: str) -> dict[str, bytes]:
    commit = next(each.commit for each in found.references if each.name == branch)
    with Objects(found.folder) as objects:
        return {file.path: objects.read(file.id, 1 << 20) for file in objects.tree(commit).files}


# ---- fetching


def test_branches_pull_requests_and_the_default_branch_are_fetched(tmp_path):
    commits = [
        Commit("trunk", {"README.md": "main"}),
        Commit("homework_1", {"a/b.txt": "one"}),
        Commit("refs/pull/7/head", {"c.txt": "pull"}),
        Commit("refs/remotes/origin/homework_2", {"d.txt": "remote"}),
        Commit("refs/notes/commits", {"e.txt": "note"}),
    ]
    found = mirror(tmp_path, build(tmp_path / "s", commits, head="trunk"))
    assert found.head == "trunk"
    assert {(each.name, each.kind) for each in found.references} == {
        ("trunk", "branch"),
        ("homework_1", "branch"),
        ("pull request 7", "pull request"),
        ("origin/homework_2", "remote branch"),
    }
    assert files_of(found, "homework_1") == {"a/b.txt": b"one"}
    assert files_of(found, "pull request 7") == {"c.txt": b"pull"}


def test_a_second_visit_sees_what_moved_and_nothing_else(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"}), Commit("hw1", {"a": "2"})])
    first = mirror(tmp_path, source)
    assert mirror(tmp_path, source).key() == first.key()
    git(source, "fast-import", "--quiet", "--force", stdin=b"reset refs/heads/hw1\nfrom refs/heads/main\n\n")
    moved = mirror(tmp_path, source)
    assert moved.key() != first.key()
    assert moved.rewritten.keys() == {"hw1"}, "the old commit is no ancestor of the new one"


def test_history_that_grows_is_not_rewritten(tmp_path):
    source = build(tmp_path / "s", [Commit("hw1", {"a": "1"})])
    mirror(tmp_path, source)
    stream = (
        b"commit refs/heads/hw1\ncommitter S <s@e.org> 1709283600 +0000\ndata 0\nfrom refs/heads/hw1^0\n\n"
    )
    git(source, "fast-import", "--quiet", stdin=stream)
    assert mirror(tmp_path, source).rewritten == {}


def test_the_first_sight_of_a_commit_is_kept(tmp_path):
    source = build(tmp_path / "s", [Commit("hw1", {"a": "1"})])
    before = time.time()
    seen = mirror(tmp_path, source).first_seen
    assert before <= next(iter(seen.values())) <= time.time()
    assert mirror(tmp_path, source).first_seen == seen


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_both_kinds_of_object_names(tmp_path, form):
    source = tmp_path / "s"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main", f"--object-format={form}")
    (source / "x.txt").write_text("text")
    git(source, "add", ".")
    git(source, "-c", "user.name=s", "-c", "user.email=s@e.org", "commit", "--quiet", "-m", "x")
    assert files_of(mirror(tmp_path, source), "main") == {"x.txt": b"text"}


def test_large_blobs_stay_where_they_are_and_are_no_empty_files(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"w.pt": os.urandom(3 << 20), "a.txt": "a"})])
    found = mirror(tmp_path, source, blob_mb=1)
    with Objects(found.folder) as objects:
        large, small = sorted(objects.tree(found.references[0].commit).files, key=lambda file: file.path)[
            ::-1
        ]
        with pytest.raises(Unreadable, match="too large, left out"):
            objects.read(large.id, 1 << 30)
        assert objects.read(small.id, 10) == b"a"
    assert sum(path.stat().st_size for path in found.folder.rglob("*.pack")) < 1 << 20


def test_a_repository_over_the_limit_is_refused_while_it_is_fetched(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {f"{i}.bin": os.urandom(1 << 20) for i in range(6)})])
    with pytest.raises(Unavailable, match="more than 2 MB; raise --limit-mb"):
        mirror(tmp_path, source, limit_mb=2)
    left = [path for path in (tmp_path / "mirror.git").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 3 << 20
    assert files_of(mirror(tmp_path, source), "main").keys() == {f"{i}.bin" for i in range(6)}


def test_what_a_killed_fetch_left_does_not_stop_the_next(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {f"{i}.bin": os.urandom(1 << 20) for i in range(12)})])
    script = (
        "import sys; from pathlib import Path; from course.mentor import repositories; "
        "from course.mentor.students import Student; "
        "repositories.update(Student('s', sys.argv[1]), Path(sys.argv[2]))"
    )
    target = tmp_path / "mirror.git"
    process = subprocess.Popen([sys.executable, "-c", script, str(source), str(target)], cwd=ROOT)
    until = time.monotonic() + 60
    while (
        not list(target.glob("objects/pack/tmp_pack*"))
        and process.poll() is None
        and time.monotonic() < until
    ):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (target / "shallow.lock").touch()
    assert len(files_of(mirror(tmp_path, source), "main")) == 12


# ---- what is refused, in one line


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ext::sh -c touch% {flag}", "is not read"),
        ("file:///etc", "is not read"),
        ("http://example.org/x", "is not read"),
        ("git://example.org/x", "is not read"),
        ("--upload-pack=touch {flag}", "is not an address"),
        ("ssh://-oProxyCommand=touch%20{flag}/x", "is not read"),
        ("https://exa\nmple.org", "is not an address"),
        ("/nowhere/at/all", "no such folder"),
        ("", "no repository is named"),
    ],
)
def test_addresses_that_could_run_something_are_refused(tmp_path, address, said):
    flag = tmp_path / "ran"
    with pytest.raises(Unavailable, match=said):
        repositories.update(Student("s", address.format(flag=flag)), tmp_path / "m.git")
    assert not flag.exists()


@pytest.mark.parametrize(
    ("protocols", "address"),
    [
        ("", "ext::sh -c touch% {flag}"),
        ("https:ssh", "ext::sh -c touch% {flag}"),
        ("file", "ext::sh -c touch% {flag}"),
        ("https:ssh", "{source}"),
        ("", "{source}"),
        ("file", "git://127.0.0.1/x"),
    ],
)
def test_git_itself_uses_no_other_transport(tmp_path, protocols, address):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    flag = tmp_path / "ran"
    with pytest.raises(GitError, match="not allowed"):
        hardened.run(["ls-remote", address.format(flag=flag, source=source)], None, protocols=protocols)
    assert not flag.exists()


def test_a_password_in_an_address_is_not_shown():
    assert hardened.redacted("fatal: https://me:secret@host/x failed") == "fatal: https://host/x failed"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: (s / "objects/info/alternates").write_text("/elsewhere/objects\n"), "alternates"),
        (lambda s: (s / "commondir").write_text("/elsewhere\n"), "commondir"),
        (lambda s: ((s / "HEAD").rename(s / "H"), (s / "HEAD").symlink_to("H")), "a link to another folder"),
    ],
)
def test_a_repository_that_borrows_from_another_is_refused(tmp_path, spoil, said):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    spoil(source)
    with pytest.raises(Unavailable, match=said):
        mirror(tmp_path, source)


def test_a_folder_that_points_elsewhere_is_refused(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".git").write_text("gitdir: /elsewhere\n")
    with pytest.raises(Unavailable, match="points to another folder"):
        mirror(tmp_path, tmp_path / "s")


def test_empty_and_damaged_repositories_are_one_line(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    (source / "refs/heads/main").write_text("0" * 39 + "1\n")
    git(source, "pack-refs", "--all", check=False)
    with pytest.raises(Unavailable) as error:
        mirror(tmp_path, source)
    assert "\n" not in str(error.value)


# ---- nothing of a student's runs


def test_no_hook_filter_or_setting_of_the_repository_runs(tmp_path):
    """Every place where git lets a repository name a program names one that leaves a file behind."""
    source = tmp_path / "s"
    source.mkdir()
    flag, program = tmp_path / "ran", tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {flag}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    git(source, "init", "--quiet", "--initial-branch=main")
    (source / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (source / ".gitmodules").write_text(
        f'[submodule "x"]\n\tpath = x\n\turl = ext::{program}\n\tupdate = !{program}\n'
    )
    (source / "x.txt").write_text("x")
    git(source, "add", ".")
    git(source, "-c", "user.name=s", "-c", "user.email=s@e.org", "commit", "--quiet", "-m", "x")
    for name in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.evil.textconv",
        "diff.external",
        "core.askPass",
        "uploadpack.packObjectsHook",
        "credential.helper",
        "gc.recentObjectsHook",
        "alias.upload-pack",
    ):
        git(source, "config", name, str(program))
    git(source, "config", "core.repositoryformatversion", "1")
    git(source, "config", "extensions.partialClone", "evil")
    git(source, "config", "remote.evil.url", f"ext::{program}")
    git(source, "config", "remote.evil.promisor", "true")
    for hook in (
        "post-checkout",
        "reference-transaction",
        "post-update",
        "pre-auto-gc",
        "fsmonitor-watchman",
    ):
        (source / ".git/hooks").mkdir(exist_ok=True)
        (source / ".git/hooks" / hook).symlink_to(program)
    assert files_of(mirror(tmp_path, source), "main")["x.txt"] == b"x"
    lost = git(source, "rev-parse", "HEAD:x.txt")
    (source / ".git/objects" / lost[:2] / lost[2:]).unlink()  # upload-pack would fetch it from `evil`
    with pytest.raises(Unavailable):
        repositories.update(Student("s", str(source)), tmp_path / "again.git")
    assert not flag.exists()


def test_replacement_objects_are_not_followed(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "true"}), Commit("other", {"a": "false"})])
    git(source, "replace", git(source, "rev-parse", "main:a"), git(source, "rev-parse", "other:a"))
    assert files_of(mirror(tmp_path, source), "main") == {"a": b"true"}


def test_the_environment_of_git_is_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "evil")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    assert {name for name in hardened.environment("") if name.startswith("GIT_")} == {
        *("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS", "GIT_NO_LAZY_FETCH"),
        *("GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT", "GIT_ALLOW_PROTOCOL", "GIT_LFS_SKIP_SMUDGE"),
        "GIT_CONFIG_GLOBAL",
    }
    assert files_of(mirror(tmp_path, build(tmp_path / "s", [Commit("main", {"a": "1"})])), "main") == {
        "a": b"1"
    }


def test_git_is_ended_with_all_its_children_when_time_is_up(tmp_path):
    source = build(tmp_path / "s", [Commit("main", {"a": "1"})])
    started = time.monotonic()
    with pytest.raises(GitError, match="longer than 1 s"):
        hardened.run(["-c", "alias.wait=!sleep 397 & wait", "wait"], source, limits=Limits(seconds=1))
    assert time.monotonic() - started < 300, "it waited for the child"
    while time.monotonic() < started + 390 and running("sleep", "397"):
        time.sleep(0.05)
    assert not running("sleep", "397")


def test_only_git_and_the_sandbox_may_start_programs():
    starting = (
        "subprocess.",
        "os.system",
        "os.exec",
        "os.popen",
        "os.spawn",
        "os.posix_spawn",
        "eval",
        "exec",
    )
    for path in (ROOT / "course/mentor").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        allowed = path.name in ("git.py", "sandbox.py")
        assert allowed or not [name for name in called if name.startswith(starting)], path.name
