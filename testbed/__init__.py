"""The bench: commands, configuration, run folders and reports. Composes every other package."""
