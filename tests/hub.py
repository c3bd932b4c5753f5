"""A hub of models and data sets that tests can fill."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Of all that the fixture ``hub`` holds."""
