"""From stored rows to a dataset folder: splits, Parquet, card, provenance, push."""
