"""The systems DELLA is compared with: one model, one file."""
