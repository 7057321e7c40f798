"""Applying a profile: samples mended on their way to a radio and from it."""
