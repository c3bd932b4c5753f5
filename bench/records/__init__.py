"""Records of runs and files of benchmarks: their schema, their storage, and comparisons between them. No torch."""
