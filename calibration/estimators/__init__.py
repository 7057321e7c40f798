"""Estimators: what was received and what had been sent in, numbers with their uncertainty out."""
