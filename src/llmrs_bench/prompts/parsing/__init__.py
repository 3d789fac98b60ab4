"""Written answers read as rankings, one idea a file."""
