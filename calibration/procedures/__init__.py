"""Procedures that measure: each drives any `Radio`, and ends in estimates with uncertainties."""
