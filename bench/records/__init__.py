"""What runs and benchmarks leave behind, the folder it lies in, one set of it against another. No torch."""
