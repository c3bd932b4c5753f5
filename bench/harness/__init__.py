"""Training, scoring and recording: the only rooms that know how a run goes."""
