"""The public names and how they are called: what others build on changes only with this file."""

import inspect
import re
from pathlib import Path

import pytest

import speechbias as sb
from speechbias import compress

SNAPSHOT = Path(__file__).with_name("public_api.txt")
COMPRESS = ("head_scores", "lowest_heads", "lowest_rows", "remove_heads", "remove_rows", "row_scores", "weight_masks")
PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def described(name, value):
    """One line: a function or class as it is called, with the public attributes of a class."""
    try:
        signature = inspect.signature(value)
        bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
        text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    except ValueError:
        text = "()"
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    attributes = ""
    if inspect.isclass(value):
        own = {each for base in value.__mro__[:-1] for each in vars(base) if not each.startswith("_")}
        own -= set(dir(Exception)) | set(dir(tuple))
        attributes = f" [{', '.join(sorted(own))}]" if own else ""
    return f"{name}{text}{attributes}"


def surface():
    lines = [described(name, getattr(sb, name)) for name in sorted(sb.__all__) if name != "__version__"]
    lines += [described(f"compress.{name}", getattr(compress, name)) for name in COMPRESS]
    return "\n".join(lines) + "\n"


def test_the_public_surface_is_what_was_agreed():
    """Additions are free, and are added to the file; anything else breaks somebody: say so in CHANGELOG.md."""
    assert surface() == SNAPSHOT.read_text(encoding="utf-8")


def test_the_page_of_the_api_has_every_public_name():
    text = PAGE.read_text(encoding="utf-8")
    for name in (*sb.__all__, *COMPRESS):
        if name != "__version__":
            assert text.count(f".{name}\n") == 1, name


@pytest.mark.parametrize("name", [name for name in sb.__all__ if name != "__version__"])
def test_public_docstrings_say_enough(name):
    """Functions: what comes in and out, and how they fail, or where that is said."""
    value = getattr(sb, name)
    text = inspect.getdoc(value)
    assert text
    assert len(text.split()) >= 8, text
    if inspect.isfunction(value) and inspect.signature(value).parameters:
        assert any(word in text for word in ("InputError", "Raises", "ValueError", "OSError")), f"{name}: {text}"
