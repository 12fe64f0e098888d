"""What tests of findings share."""

import pytest

from planted_models import World


@pytest.fixture
def world(tmp_path):
    """Models that are made up."""
    return World(tmp_path)
