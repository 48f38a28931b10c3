"""The commands on the pages of a homework and in its scripts' docstrings, as a reader gives them."""

import re
import shlex
from pathlib import Path
from types import ModuleType

from common import command_line


class PageCommands:
    """Finds commands of some scripts, all of one folder, in texts, and parses them."""

    def __init__(self, *modules: ModuleType):
        self.scripts = {Path(module.__file__).name: module for module in modules}
        self.folder = Path(modules[0].__file__).parent
        self.pages = {
            name: (self.folder / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")
        }

    def found(self, text: str) -> list[list[str]]:
        """Script and flags of every line that starts one of the scripts anew, in order."""
        scripts = rf"{self.folder.name}/((?:{'|'.join(self.scripts)}).*)$"
        lines = re.findall(rf"^(?:python|torchrun .*) {scripts}", text.replace("\\\n", " "), re.M)
        return [shlex.split(line, comments=True) for line in lines if "--resume" not in line]

    def everywhere(self) -> list[str]:
        """All commands of pages and docstrings, each once."""
        texts = [*self.pages.values(), *(module.__doc__ for module in self.scripts.values())]
        return sorted({shlex.join(command) for text in texts for command in self.found(text)})

    def parsed(self, command: list[str]):
        """The Config that a command asks for."""
        script, *flags = command
        return command_line.parse(self.scripts[script].Config, flags)
