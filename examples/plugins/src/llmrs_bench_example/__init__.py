"""One plug-in of each kind for llmrs-bench."""
