"""Rankings in the formats of other tools: read, matched with requests, and written."""
