"""What is asked of a transformers model and its tokenizer."""
