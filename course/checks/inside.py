"""What runs beside a student's code: calls on arrays that come in, arrays out.

It knows no right answer, and imports nothing of the course: in a sandbox nothing else of the course is there.
The first line of the input says where things are, then come the calls, each a line of JSON and the bytes of
its arrays; each answer is written in the same form as soon as it is there.
"""

import importlib.util
import json
import os
import sys
import traceback
import types

MOST_SAID = 600
NUMBERS = "biuf"
"""Kinds of arrays that are answers."""


def main() -> None:
    """Answer every call; what a student's code raises is an answer too."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the student's code prints is no answer
    request = json.loads(sys.stdin.buffer.readline())
    _limit(request.get("processes"), request.get("cpu_seconds"))
    import numpy  # before the student's folders are on the path: a numpy.py of theirs is not this one

    calls = [json.loads(sys.stdin.buffer.readline()) for _ in range(request["count"])]
    for call in calls:
        call["arrays"] = [_array(numpy, *each) for each in call["arrays"]]
    sys.path[:] = [place for place in sys.path if not _is_a_course(place)] + request["folders"]
    _allow(request.get("seconds_each"))
    student, asked = _student(request), _asked(request)
    for call in calls:
        _allow(request.get("seconds_each"))
        line, body = _answer(numpy, asked, student, call, request["folders"])
        answers.write(json.dumps(line).encode() + b"\n" + body)
        answers.flush()
    answers.close()
    os._exit(0)  # no exit handler of the student's


def _limit(processes: int | None, cpu_seconds: int | None) -> None:
    """Of this process and of those it starts; what they take together is watched from outside."""
    try:
        import resource
    except ImportError:  # Windows: there is only the time that passes
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if processes is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    if cpu_seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))


def _allow(seconds: int | None) -> None:
    """So much computing more, for the next call alone."""
    if seconds is None:
        return
    try:
        import resource
    except ImportError:
        return
    used, most = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)[1]
    allowed = int(used.ru_utime + used.ru_stime) + 1 + seconds
    limited = most != resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_CPU, (min(allowed, most) if limited else allowed, most))


def _array(numpy: types.ModuleType, kind: str, shape: list[int]) -> object:
    size = numpy.dtype(kind).itemsize * int(numpy.prod([1, *shape], dtype=object))
    return numpy.frombuffer(sys.stdin.buffer.read(size), kind).reshape(shape).copy()


def _is_a_course(place: str) -> bool:
    """Whether modules are found there that a student's code must not take for its own."""
    return os.path.isfile(os.path.join(place, "course", "__main__.py"))


def _module(path: str) -> types.ModuleType:
    """A file as a module that no import of the student's finds."""
    known = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(known)
    known.loader.exec_module(module)
    return module


def _elsewhere() -> types.ModuleType:
    return _module(os.path.join(os.path.dirname(__file__), "elsewhere.py"))


def _asked(request: dict) -> types.ModuleType:
    """The functions that are called: those of the homework's calls, or of the student's module itself."""
    if "module" in request:
        return importlib.import_module(request["module"])
    return _module(os.path.join(os.path.dirname(__file__), f"{request['work']}_calls.py"))


def _student(request: dict) -> types.SimpleNamespace | None:
    """What the adapter names, and in its place what the student's own adapter names."""
    if "module" in request:
        return None
    here = os.path.dirname(__file__)
    elsewhere = _elsewhere()
    sys.meta_path.append(elsewhere.Finder(request["folders"], request["work"]))
    names = vars(_module(os.path.join(here, f"{request['work']}_adapter.py")))
    own = next(
        (
            path
            for folder in request["folders"]
            if os.path.isfile(path := os.path.join(folder, f"check_{request['work']}.py"))
        ),
        None,
    )
    return types.SimpleNamespace(**{**names, **(vars(_module(own)) if own else {})})


def _answer(numpy, asked, student, call: dict, folders: list[str]) -> tuple[dict, bytes]:
    """The arrays that a call gives, or what it raised: of which kind, in which words, at which line."""
    given = call["arrays"] if student is None else [student, *call["arrays"]]
    try:
        results = getattr(asked, call["call"])(*given)
        results = results if isinstance(results, (tuple, list)) else [results]
        arrays = [numpy.asarray(_plain(result), order="C") for result in results]
        for result, array in zip(results, arrays):
            if array.dtype.kind not in NUMBERS:
                return {"unfit": _kind(result)}, b""
        body = b"".join(array.tobytes() for array in arrays)
        return {"arrays": [[array.dtype.str, list(array.shape)] for array in arrays]}, body
    except (Exception, SystemExit) as error:
        said = {"raised": type(error).__name__, "said": str(error)[:MOST_SAID], "at": _place(error, folders)}
        return {**said, "importing": _imported(error, folders)}, b""


def _imported(error: BaseException, folders: list[str]) -> str:
    """The file of the student's whose import it ended; nothing where it was no import."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for folder in folders:
            if frame.name == "<module>" and frame.filename.startswith(os.path.join(folder, "")):
                return os.path.relpath(frame.filename, folder)
    return ""


def _kind(result: object) -> str:
    """What came in the place of numbers: `None`, `str`, `list with NoneType in it`."""
    if hasattr(result, "dtype"):
        return f"array of {result.dtype}"
    if isinstance(result, (list, tuple)):
        strange = next((each for each in result if not isinstance(each, (bool, int, float))), result)
        return f"list with {type(strange).__name__} in it"
    return "None" if result is None else type(result).__name__


def _place(error: BaseException, folders: list[str]) -> str:
    """File and line of the student's, or notebook and cell, that raised it, or that called what raised it."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    for name, line in reversed(frames):
        for folder in folders:
            if name.startswith(os.path.join(folder, "")):
                elsewhere = _elsewhere()
                why = elsewhere.not_run(name, getattr(error, "name", None))
                return elsewhere.where(name, line, folder) + (f"; {why}" if why else "")
    return ""


def _plain(result: object) -> object:
    """A tensor as an array."""
    return result.detach().cpu().numpy() if hasattr(result, "detach") else result


if __name__ == "__main__":
    main()
