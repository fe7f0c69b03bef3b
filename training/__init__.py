"""The recipe of the default model: fetch, prepare, mix, train (see README.md)."""
