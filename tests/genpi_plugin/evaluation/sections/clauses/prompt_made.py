"""A prompt with every kind of clause."""

from __future__ import annotations


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


RULES = """You shop for a customer.

# Rules

How to shop:
1. Search first.
   With few words.
2. Choose the size.
   - small
   - large
Answer with this:

```
Thought: ...

Action: ...
```
"""
PROMPT = [system(RULES), user("a red shirt"), assistant("search[red shirt]"),
          user("a cotton shirt"), assistant("search[cotton shirt]")]  # fmt: skip
