"""Engines that answer: transformers, vLLM, OpenAI-compatible servers, Ray, a mock, and the model of the demo."""
