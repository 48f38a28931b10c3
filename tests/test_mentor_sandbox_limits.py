"""The sandbox's limits, with students' processes that really try: time, processes, memory, disk, answers."""

import time
from pathlib import Path

import numpy as np
import pytest
from sandboxed import HANG, X, answer, needs_sandbox

from course.mentor.sandbox import Failed


def alive(marker: str) -> bool:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in place.read_bytes():
                return True
        except OSError:
            continue
    return False


def gone(marker: str) -> bool:
    """Whether a process that was killed ends."""
    until = time.monotonic() + HANG
    while alive(marker) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(marker)


@needs_sandbox
def test_code_that_never_ends_is_ended_with_all_it_started():
    code = """
import subprocess, sys
def f(x):
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3197)'], start_new_session=True)
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True: pass
"""
    with pytest.raises(Failed, match="did not end within 4 s"):
        answer(code, cpu_seconds=4)
    assert gone("time.sleep(3197)")


@needs_sandbox
def test_code_that_waits_for_ever_is_ended_too():
    with pytest.raises(Failed, match="did not end within 3 s"):
        answer("import time\ndef f(x): time.sleep(3196)", seconds=3)


TOGETHER = """
    for _ in range(4):
        subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    time.sleep(3195)
"""
ONE_AFTER_ANOTHER = """
    while True:
        subprocess.run([sys.executable, '-c', 'for _ in range(10**7): pass'])
"""


@needs_sandbox
@pytest.mark.parametrize("body", [TOGETHER, ONE_AFTER_ANOTHER], ids=["together", "one after another"])
def test_what_several_processes_compute_is_counted_together(body):
    with pytest.raises(Failed, match="did not end within 4 s"):
        answer(f"import subprocess, sys, time\ndef f(x):{body}", cpu_seconds=4)


@needs_sandbox
def test_a_child_left_behind_neither_delays_the_answer_nor_lives_on():
    code = """
import subprocess, sys
def f(x):
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3198)'], start_new_session=True)
    return x
"""
    np.testing.assert_array_equal(answer(code)[0], X)
    assert gone("time.sleep(3198)")


@needs_sandbox
def test_a_fork_bomb_is_ended():
    code = """
import os, time
def f(x):
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)
"""
    with pytest.raises(Failed, match=r"processes|within|memory"):
        answer(code, cpu_seconds=10, processes=32)


@needs_sandbox
def test_processes_that_only_wait_are_counted():
    code = """
import subprocess, sys, time
def f(x):
    for _ in range(12):
        subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3199)'])
    time.sleep(3199)
"""
    with pytest.raises(Failed, match=r"more than 8 processes|unavailable"):
        answer(code, processes=8)


@needs_sandbox
def test_memory_is_bounded():
    code = "def f(x):\n    held = []\n    while True: held.append(bytearray(b'x' * (1 << 24)))"
    with pytest.raises(Failed, match=r"more than 512 MB of memory|Memory"):
        answer(code, memory_bytes=512 << 20)


@needs_sandbox
def test_the_disk_is_bounded():
    code = """
def f(x):
    with open('/tmp/x', 'wb') as file:
        while True: file.write(bytes(1 << 20))
"""
    with pytest.raises(Failed, match=r"No space left|memory"):
        answer(code, disk_bytes=32 << 20)


@needs_sandbox
@pytest.mark.parametrize(
    "code",
    [
        "import os\ndef f(x):\n    while True: os.write(3, b'x' * 65536)",
        "import numpy\ndef f(x): return numpy.zeros(10_000_000)",
    ],
)
def test_the_answer_is_bounded(code):
    with pytest.raises(Failed, match=r"more than 1 MB|no list of arrays|status|Error"):
        answer(code, answer_bytes=1 << 20)


@needs_sandbox
def test_large_inputs_pass():
    big = np.random.default_rng(0).random((1000, 1000))
    np.testing.assert_array_equal(answer("def f(x): return x.T", big)[0], big.T)
