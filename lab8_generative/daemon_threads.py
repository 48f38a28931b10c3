"""Work shared by threads that Python does not wait for when it ends: Ctrl-C is obeyed at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
ENDED = object()


def unordered(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`function` of each item as it is ready; raises what `function` raises.

    concurrent.futures would do, but Python waits for its threads even after Ctrl-C, and one that is looking
    for a server that is gone takes minutes.
    """
    waiting, ready = queue.SimpleQueue(), queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def work() -> None:
        try:
            while True:
                ready.put((function(waiting.get_nowait()), None))
        except queue.Empty:
            ready.put((ENDED, None))
        except BaseException as error:
            ready.put((ENDED, error))

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    while threads:
        result, error = ready.get()
        if error is not None:
            raise error
        if result is ENDED:
            threads -= 1
        else:
            yield result
