"""Training, scoring and recording of runs."""
