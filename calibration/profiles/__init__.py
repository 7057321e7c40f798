"""What was measured of a radio, kept as JSON: values with their uncertainties, and until when."""
