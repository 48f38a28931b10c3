"""What every card of shipped weights must say."""

import re
from pathlib import Path

from common.metrics import extractors


def card_of(path: Path) -> str:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert not re.search(r"(^|[\s`])/\w|[A-Z]:\\", card), "a path of some machine"
    return card


def check_file(path: Path, most_bytes: int) -> None:
    assert f"SHA-256: `{extractors.file_sha256(path)}`" in card_of(path)
    assert path.stat().st_size <= most_bytes
