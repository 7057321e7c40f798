"""Everything that touches IQ samples on a host. No torch and no sibling package is imported here."""
