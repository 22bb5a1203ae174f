"""Measure speed; every result is also checked for truth."""
