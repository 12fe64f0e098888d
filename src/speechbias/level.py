"""The level of a test that belongs to an interval."""


def alpha_of(confidence: float) -> float:
    """0.05 for 0.95, which 1 - 0.95 exceeds: a p of exactly 1 in 20 is not below the level."""
    return round(1 - confidence, 12)
