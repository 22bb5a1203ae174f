"""Tools to run the project from its checkout."""
