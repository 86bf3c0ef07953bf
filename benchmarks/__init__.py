"""Measurements, printed beside what the machine can do; no gate."""
