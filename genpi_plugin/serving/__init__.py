"""`axolotl genpi-template`: a chat template for applications that still send the prompt."""
