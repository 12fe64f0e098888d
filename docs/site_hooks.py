"""Hooks of the site: pages that stand at the root of the repository, and links where a text names another page."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
FROM_ROOT = {"index.md": "README.md", "architecture.md": "ARCHITECTURE.md", "changelog.md": "CHANGELOG.md"}
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`|\[[^\]\n]*\]\([^)\n]*\))", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"\bdocs/([\w-]+)\.md\b")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the root."""
    for page, source in FROM_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_from_root(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn ``docs/method.md`` in running text into a link; code and links stay as they are."""
    parts = CODE.split(markdown)
    return "".join(part if number % 2 else NAMED.sub(r"[\1](\1.md)", part) for number, part in enumerate(parts))


def _from_root(text: str) -> str:
    """Links as they are from docs/."""
    text = text.replace("](docs/", "](").replace("](ARCHITECTURE.md)", "](architecture.md)")
    return re.sub(r"\[([^\]]*)\]\((CITATION\.cff|LICENSE|CONTRIBUTING\.md)\)", r"\1", text)
