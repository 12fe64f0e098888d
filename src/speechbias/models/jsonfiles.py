"""JSON files beside a model's weights. No torch here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbias.errors import InputError, not_utf8


def read_json(file: Path) -> Mapping[str, Any]:
    """A JSON object from a file. InputError where it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({not_utf8(error)}); copy the file again") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); copy the file again") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} is not a JSON object; copy the file again")
    return content
