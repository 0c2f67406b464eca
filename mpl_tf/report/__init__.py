"""What a person reads of a finished run: one self-contained HTML page and tables beside it."""
