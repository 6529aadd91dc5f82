"""Fitting: from a function to a parameter table."""
