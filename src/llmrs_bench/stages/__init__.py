"""One stage, one function, one artifact; the only code that opens artifacts."""
