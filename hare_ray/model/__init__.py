"""The decoder: its shape, its attention over packed documents, and its export to Hugging Face."""
