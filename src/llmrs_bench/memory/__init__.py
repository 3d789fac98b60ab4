"""Does a model know a data set by heart? What it is asked, and how sure its answers make that."""
