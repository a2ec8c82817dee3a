"""Any OpenAI-compatible server: requests, failures and what they mean, scoring."""
