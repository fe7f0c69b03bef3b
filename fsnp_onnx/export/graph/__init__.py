"""The graph of an exported file."""
