"""Language models behind one call: prompts in, responses out."""
