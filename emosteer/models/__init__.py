"""Transformers models and their tokenizers: loading, identity, activations, messages, streaming and sampling."""
