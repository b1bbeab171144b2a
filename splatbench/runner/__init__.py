"""The stages of an experiment: fetch, encode, evaluate, collect; resume and failure rows."""
