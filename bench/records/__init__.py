"""What a run leaves behind: its record, the folder it lies in, one set of runs against another. No torch."""
