"""Measurements, on the lab and beside a floor: see README.md."""
