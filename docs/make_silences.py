"""Write the paper's silences, as the package has them, into docs/reproducing.md: ``python docs/make_silences.py``."""

from pathlib import Path

from speechbias.paper import SILENCES

PAGE = Path(__file__).with_name("reproducing.md")
HEADER = "| open | here | alternatives | what they change |\n| --- | --- | --- | --- |\n"


def table() -> str:
    """A row per silence."""
    rows = (
        (each.topic, f"{each.chosen} ({each.reason})", each.alternatives, each.changes) for each in SILENCES.values()
    )
    return HEADER + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page(text: str) -> str:
    """The page with the table in the place of the one that it has."""
    return text[: text.index(HEADER)] + table()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
