//! Nothing to use: the laws are in `tests/`.
