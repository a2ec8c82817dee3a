"""A Hugging Face model in this process: loading, batching, shared prefixes."""
