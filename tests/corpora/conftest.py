"""Tiny recordings under the names that corpora give their files."""

import pytest

from laid_corpora import lay_down


@pytest.fixture
def lay():
    """Write a recording to each of the paths."""
    return lay_down


@pytest.fixture
def ravdess(tmp_path, lay):
    """RAVDESS with four actors, speech and what else its archive holds, as wav."""
    folder = tmp_path / "ravdess"
    for actor in range(1, 5):
        names = [
            f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
            for emotion in range(1, 9)
            for intensity in (1, 2)
            for statement in (1, 2)
            for repetition in (1, 2)
            if not (emotion == 1 and intensity == 2)
        ]
        names += [f"03-02-03-02-01-01-{actor:02d}.wav", f"02-01-03-02-01-01-{actor:02d}.wav"]  # song, video
        lay(*(folder / f"Actor_{actor:02d}" / name for name in names))
    return folder
