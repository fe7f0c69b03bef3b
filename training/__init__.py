"""The recipe of the default model: fetch, prepare, mix, train, evaluate (see README.md)."""
