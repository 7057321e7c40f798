"""Measuring radios and keeping what was measured. Imports `radio` and nothing else of the tree."""
