"""The embedded grammars, one task per file."""
