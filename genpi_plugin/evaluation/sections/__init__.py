"""The report's sections, a file or a folder each; `catalog` lists them in order."""
