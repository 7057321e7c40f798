"""Calibration for people: profiles as tables, figures and verdicts, and sessions on a bench."""
