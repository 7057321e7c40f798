"""What touches IQ samples on a host. Imports neither torch nor a sibling package."""
