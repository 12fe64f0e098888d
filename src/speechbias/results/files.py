"""Results files: JSON lines, one record per line; read, appended to, taken back."""

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbias.errors import InputError, os_reason
from speechbias.results.identity import dump
from speechbias.results.record import SCHEMA, BiasResult
from speechbias.results.whole import follow, locked, write_whole

LONGEST = 1 << 16  # bytes of a line that are looked at


def read_records(path: Path | str) -> list[dict[str, Any]]:
    """Every record of a results file, of any kind, in order.

    Raises ``InputError`` where there is no such file, or a line is not a JSON object with a ``kind``.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = os_reason(error, otherwise="not UTF-8 text")
        raise InputError(f"{path} cannot be read as results ({why}). Give a file that `measure` wrote.") from None
    records = []
    for number, line in enumerate(io.StringIO(text), start=1):  # not splitlines: U+2028 may stand within a name
        try:
            record = json.loads(line)
            newer = record["schema"] > SCHEMA
            record["kind"]
        except (ValueError, TypeError, KeyError, RecursionError):  # ValueError: no JSON, or a number of 5000 digits
            raise InputError(f"{path}, line {number} is not a record. Give a file that `measure` wrote.") from None
        if newer:
            raise InputError(f"{path}, line {number} has schema {record['schema']}. Update speechbias to read it.")
        records.append(record)
    return records


def read_results(path: Path | str) -> list[BiasResult]:
    """The measurements (records of kind ``bias``) of a results file, in order. InputError where it is none."""
    path = Path(path)
    results = []
    for number, record in enumerate(read_records(path), start=1):
        if record["kind"] != "bias":
            continue
        try:
            results.append(BiasResult.from_json(record))
        except TypeError:
            raise InputError(
                f"{path}, line {number} is not a whole record of kind bias. Give a file that `measure` wrote."
            ) from None
    return results


def check_writable(path: Path | str) -> None:
    """Raise ``InputError`` now if results could not be written to ``path`` later; makes its folder."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is a folder or no plain file. Give -o the name of a results file (.jsonl).")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "no permission to write")
        if path.exists():
            _check_first(path)
        with tempfile.TemporaryFile(dir=follow(path).parent):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({os_reason(error)}). Choose another place with -o.") from None


def _check_first(path: Path) -> None:
    """InputError where the first line is no record: a table that somebody named by mistake."""
    with path.open("rb") as file:
        line = file.readline(LONGEST)
    if line.strip() and not line.lstrip().startswith(b"{"):
        raise InputError(f"{path}, line 1 is not a record. Give a file that `measure` wrote.")


def append_results(path: Path | str, results: Sequence[BiasResult]) -> int:
    """Add the results that the file does not hold yet; all of them or none. Returns how many were added.

    Raises ``OSError`` where the disk is full; the file is then as it was.
    """
    path = follow(path)
    with locked(path.parent):
        present = {result.identity for result in read_results(path)} if path.exists() else set()
        new = [result for result in results if result.identity not in present]
        if new:
            old = path.read_bytes() if path.exists() else b""
            old += b"" if old.endswith(b"\n") or not old else b"\n"  # an editor may have taken it
            write_whole(path, old + b"".join(dump(result.to_json()) + b"\n" for result in new))
    return len(new)


def append_records(path: Path | str, records: Sequence[Mapping[str, Any]]) -> int:
    """Add records of other kinds that the file does not hold yet, byte by byte; all of them or none. Returns how many.

    Raises ``OSError`` where the disk is full; the file is then as it was.
    """
    path = follow(path)
    with locked(path.parent):
        if path.exists():
            read_records(path)  # refuses what is no results file
        old = path.read_bytes() if path.exists() else b""
        present = set(old.splitlines())
        lines = dict.fromkeys(dump(record) for record in records)
        new = [line for line in lines if line not in present]
        if new:
            old += b"" if old.endswith(b"\n") or not old else b"\n"  # an editor may have taken it
            write_whole(path, old + b"".join(line + b"\n" for line in new))
    return len(new)


def remove_results(path: Path | str, unwanted: Callable[[BiasResult], bool]) -> int:
    """Take measurements back; all other lines stay as they are, byte by byte. Returns how many were taken."""
    path = follow(path)
    with locked(path.parent):
        read_results(path)  # refuses what is no results file
        lines = path.read_bytes().splitlines(keepends=True)
        records = [json.loads(line) for line in lines]
        kept = [
            line
            for line, record in zip(lines, records, strict=True)
            if record["kind"] != "bias" or not unwanted(BiasResult.from_json(record))
        ]
        if len(kept) < len(lines):
            write_whole(path, b"".join(kept))
    return len(lines) - len(kept)
