"""Calibration: do the p's and intervals of the package keep what they promise? By simulation (docs/validity.md)."""
