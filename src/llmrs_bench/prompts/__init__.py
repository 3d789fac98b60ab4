"""Templates as text codecs: a request becomes prompts, their responses become scores."""
