"""Synthetic text (D2) and tasks (D3): seeds, prompts, a served LLM, checks on what it wrote."""
