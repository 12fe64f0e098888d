"""What the documents print: command lines and Python, where each stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "recipes/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PROGRAMS = ("speechbias", "python", "make", "pip", "torchrun", "git", "wget", "curl", "tar", "hf", "pre-commit")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Printed:
    """A command line, or a block of Python, and the page on which it stands."""

    page: str
    text: str
    python: bool = False

    @property
    def program(self) -> str:
        """The first word of a command."""
        return self.text.split()[0]

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def name_of(page: Path) -> str:
    """A page as people name it."""
    return page.relative_to(ROOT).as_posix()


def read_page(page: Path) -> list[Printed]:
    """What a page prints, in its order: command lines, joined over backslashes, those in sentences too; Python."""
    name, found = name_of(page), []
    for prose, language, block in _parts(page.read_text(encoding="utf-8")):
        if language == "python":
            found.append(Printed(name, block, python=True))
        elif block is None:
            found += [Printed(name, span) for span in map(_words, _SPAN.findall(prose)) if _is_whole(span)]
        elif language in {"", "sh", "bash", "console"}:
            found += [Printed(name, line) for line in _commands(block)]
    return found


def _parts(text: str) -> Iterator[tuple[str, str, str | None]]:
    """(prose, "", None) and ("", language, block), as they follow each other."""
    end = 0
    for match in _FENCE.finditer(text):
        yield text[end : match.start()], "", None
        yield "", match[1], match[2]
        end = match.end()
    yield text[end:], "", None


def _commands(block: str) -> list[str]:
    """Lines of a block of commands; none of a diagram, a table or a message."""
    joined = block.replace("\\\n", " ").splitlines()
    parts = [part for line in joined for part in _words(_uncommented(line)).split(" && ")]
    lines = [part for part in parts if part]
    return lines if any(line.split()[0] in PROGRAMS for line in lines) else []


def _uncommented(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line)


def _words(text: str) -> str:
    return " ".join(text.split())


def _is_whole(span: str) -> bool:
    """`speechbias VERB` alone names a verb; with something behind it, it is a command to type."""
    words = span.split()
    return words[0] in {"speechbias", "make", "pip", "python"} and len(words) > (2 if words[0] == "speechbias" else 1)
