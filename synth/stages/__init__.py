"""The stages of a row, each one async function: inputs, outputs, reasons, conversations."""
