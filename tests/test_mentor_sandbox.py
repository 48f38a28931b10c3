"""A student's code in the sandbox: what it answers, and what it cannot do. Every attack is really run."""

import errno
import json
import platform
import socket
import struct
import threading
import time
from pathlib import Path

from common.errors import InputError

import numpy as np
import pytest
from sandboxed import HANG, X, answer, needs_sandbox

from course.checks import exchange
from course.checks.exchange import Call, Lost
from course.mentor import sandbox, system_calls
from course.mentor.sandbox import Failed, Limits


def test_without_bubblewrap_it_refuses_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="no sandbox on this machine: install bubblewrap"):
        answer("def f(x): return x")


@needs_sandbox
def test_arrays_go_in_and_come_out():
    whole, part, number = answer(
        "def f(x, n):\n    return 2 * x, x[:, 1] > 2, n.sum()", X, np.array([3, 4], np.int32)
    )
    np.testing.assert_array_equal(whole, 2 * X)
    np.testing.assert_array_equal(part, [False, True])
    assert number == 7


@needs_sandbox
def test_modules_of_the_student_are_found_and_false_libraries_are_not():
    files = {
        "mine/__init__.py": b"three = 3",
        "numpy.py": b"raise SystemExit(5)",
        "json.py": b"raise SystemExit(5)",
    }
    (found,) = answer("import numpy, json\nfrom mine import three\ndef f(x): return three * x", files=files)
    np.testing.assert_array_equal(found, 3 * X)


@needs_sandbox
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(x): raise ValueError('no')", "ValueError: no"),
        ("def g(x): return x", "has no attribute 'f'"),
        ("def f(x) return x", "SyntaxError"),
        ("import os\ndef f(x): os._exit(3)", "status 3"),
        ("import os\ndef f(x): os.kill(os.getpid(), 9)", "status|ended"),
        ("def f(x): return 'text'", "it returns str: no numbers"),
        ("def f(x): return [object()]", "it returns object: no numbers"),
        ("import os\ndef f(x):\n    os.write(3, b'score: 100'); return x", "no list of arrays"),
        ("import sys\ndef f(x): sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_what_is_no_answer_is_one_line(code, said):
    with pytest.raises(Failed, match=said) as error:
        answer(code)
    assert "\n" not in str(error.value)


@needs_sandbox
def test_printing_and_patching_forge_nothing():
    code = (
        "import sys, numpy\nprint('score: 100'); sys.stdout.flush()\n"
        "sys.modules['pytest'] = sys\nnumpy.allclose = lambda *a, **k: True\ndef f(x): return x * 0"
    )
    (found,) = answer(code)
    assert not np.allclose(found, X), "what is judged outside is judged by an allclose of ours"


# ---- what it cannot reach


@needs_sandbox
def test_no_secrets_no_home_no_other_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "12345")
    (tmp_path / "marks.toml").write_text("[ivanov]")
    code = f"""
import os
import platform
def f(x):
    return [len([n for n in os.environ if 'SECRET' in n]),
            os.path.exists({str(tmp_path / "marks.toml")!r}),
            os.path.exists('/etc/passwd'), os.path.exists('/root/.ssh'), os.path.exists('/home'),
            os.path.exists({str(Path(__file__))!r})]
"""
    assert [int(each) for each in answer(code)] == [0] * 6


@needs_sandbox
def test_the_system_is_read_only_and_only_its_own_folder_takes_files():
    code = """
import os
def tries(path):
    try:
        open(path, 'w').write('x'); return 1
    except OSError:
        return 0
def f(x):
    closed = ('/x', '/usr/x', '/student/x', '/checks/inside.py', '/student/work.py', '/proc/sysrq-trigger')
    return [tries(path) for path in (*closed, '/tmp/x')]
"""
    assert [int(each) for each in answer(code)] == [0, 0, 0, 0, 0, 0, 1]


@needs_sandbox
def test_no_network_not_even_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as server:
        came: list[bool] = []
        threading.Thread(target=lambda: (server.accept(), came.append(True)), daemon=True).start()
        code = f"""
import socket
import struct
def f(x):
    try:
        socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=3); return 1
    except OSError:
        return 0
"""
        assert int(answer(code)[0]) == 0
        time.sleep(0.1)
        assert came == []


@needs_sandbox
def test_it_sees_no_process_of_ours_and_has_no_rights():
    code = """
import os
def f(x):
    pids = [int(n) for n in os.listdir('/proc') if n.isdigit()]
    caps = [l for l in open('/proc/self/status') if l.startswith('CapEff')][0].split()[1]
    return [max(pids), int(caps, 16), os.getuid()]
"""
    highest, rights, user = (int(each) for each in answer(code))
    assert highest < 50 and rights == 0 and user == 65534


# ---- files and answers


@pytest.mark.parametrize("path", ["../x.py", "/etc/x", "a/../../x", ".", "x\0y", "y" * 300])
def test_files_stay_in_their_folder(tmp_path, path):
    with pytest.raises(Failed):
        sandbox._lay_out(tmp_path / "s", {path: b""})
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize(
    "content",
    [
        b"score: 100",
        b'{"arrays": []',
        b'{"arrays": [["|O", [1]]]}\n12345678',
        b'{"arrays": [["<f8", [-1]]]}\n12345678',
        b'{"arrays": [["<f8", [99999999999999]]]}\n12345678',
        b'{"arrays": [["<f8", [2]]]}\n12345678',
        b'{"arrays": [["V8", [1]]]}\n12345678',
        b'{"arrays": 7}\n',
        b'{"raised": 7}\n',
        b"[" * 100_000 + b"\n",
        b"[" * 60_000 + b"\n",
    ],
)
def test_an_answer_that_lies_about_itself_is_none(content):
    assert exchange.read(content, 1 << 20) == []
    whole = b'{"arrays": [["<f8", [1]]]}\n12345678'
    assert len(exchange.read(whole + content, 1 << 20)) == 1, "those before it stay"


def test_arrays_survive_the_way():
    sent = [X, np.array(3, np.uint8), np.zeros((0, 4), np.float32), np.array([True])]
    written = exchange.request({}, [Call("f", tuple(sent))]).partition(b"\n")[2]
    (came,) = exchange.read(written, 1 << 20)
    for one, other in zip(sent, came, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)


def test_a_call_that_ends_its_process_is_lost_alone():
    starts = []

    def run(given: bytes) -> tuple[bytes, str]:
        """A process that dies in the call named `b`."""
        names = [json.loads(line)["call"] for line in given.splitlines()[1:]]
        starts.append(names)
        whole = names[: names.index("b")] if "b" in names else names
        return b'{"arrays": []}\n' * len(whole), "" if whole == names else "it fell"

    answers = exchange.ask(run, {}, [Call(name) for name in "abca"], 100)
    assert answers == [[], Lost("it fell"), [], []] and starts == [list("abca"), list("ca")]
    answers = exchange.ask(run, {}, [Call("b")] * 20, 100)
    assert len(answers) == 20 and answers[-1].why.startswith("not asked")


@needs_sandbox
def test_calls_of_one_student_share_a_process_until_one_ends_it():
    code = b"import os\nn = 0\ndef f(x):\n    global n\n    n += 1\n    return n\ndef g(x): os._exit(3)\n"
    calls = [Call(name, (X,)) for name in ("f", "f", "g", "f", "h")]
    answers = sandbox.ask(
        {"work.py": code}, {"module": "work"}, calls, Limits(seconds=HANG, seconds_in_all=HANG)
    )
    assert [int(answers[i][0]) for i in (0, 1, 3)] == [1, 2, 1]
    assert answers[2] == Lost("it ended with status 3") and answers[4].kind == "AttributeError"


@needs_sandbox
@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os.kill(os.getpid(), 11)", "it was ended by signal 11 (Segmentation fault)"),
        ("os._exit(3)", "it ended with status 3"),
    ],
)
def test_what_a_process_printed_is_not_why_it_ended(ending, said):
    code = f"import os, sys\ndef f(x):\n    print('step 7', file=sys.stderr, flush=True)\n    {ending}\n"
    (found,) = sandbox.ask({"work.py": code.encode()}, {"module": "work"}, [Call("f", (X,))],
                           Limits(seconds=HANG, seconds_in_all=HANG))  # fmt: skip
    assert found == Lost(said)


@needs_sandbox
def test_a_forgotten_return_is_no_end():
    code, limits = b"def f(x): pass\ndef g(x): return x\n", Limits(seconds=HANG, seconds_in_all=HANG)
    calls = [Call("f", (X,)), Call("g", (X,))]
    found = sandbox.ask({"work.py": code}, {"module": "work"}, calls, limits)
    assert found[0] == exchange.Unfit("None") and len(found[1]) == 1


def test_no_right_answer_is_inside():
    for name in ("inside.py", "elsewhere.py"):
        text = exchange.INSIDE.with_name(name).read_text()
        assert "import course" not in text and "from course" not in text
        assert "expected" not in text.split('"""')[2]


# ---- system calls


@needs_sandbox
@pytest.mark.skipif(system_calls.program() is None, reason="numbers of this processor's calls are not known")
def test_calls_that_lead_out_are_refused():
    column = list(system_calls.ARCHITECTURES).index(platform.machine())
    numbers = [each[column] for each in system_calls.REFUSED.values()]
    code = f"""
import ctypes, errno, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def number(n, *given):
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(n, *given) < 0 else 0
def f(x):
    found = [number(n, 0, 0, 0, 0, 0) for n in {numbers}]
    found += [number({system_calls.CLONE[column]}, {system_calls.NEW_USER}, 0, 0, 0, 0)]
    found += [number({system_calls.CLONE3}, 0, 0)]
    works = subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True).stdout == b'42\\n'
    return found, int(works)
"""
    found, works = answer(code)
    assert found[:-1].tolist() == [errno.EPERM] * (len(numbers) + 1) and found[-1] == errno.ENOSYS
    assert works, "processes and threads are no way out"


def test_the_filter_is_whole_on_every_processor_it_knows():
    for machine in system_calls.ARCHITECTURES:
        program = system_calls.program(machine)
        lines = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)]
        for place, (code, yes, no, _) in enumerate(lines):
            jumps = (
                (yes, no)
                if code in (system_calls.EQUAL, system_calls.ANY_BIT, system_calls.AT_LEAST)
                else (0,)
            )
            assert all(place + 1 + jump < len(lines) for jump in jumps) or code == system_calls.RETURN
        assert lines[-1] == (system_calls.RETURN, 0, 0, system_calls.ALLOW)
        numbers = [
            column[list(system_calls.ARCHITECTURES).index(machine)]
            for column in system_calls.REFUSED.values()
        ]
        assert len(set(numbers)) == len(numbers)
    assert system_calls.program("sparc64") is None


@needs_sandbox
def test_torch_works_inside():
    pytest.importorskip("torch")
    code = "import torch\ndef f(x): return torch.from_numpy(x).exp().requires_grad_()"
    np.testing.assert_allclose(answer(code)[0], np.exp(X))
