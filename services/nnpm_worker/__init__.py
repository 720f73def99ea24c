"""The inference worker: loads models, reads their request streams, runs, replies. Start reading in README.md."""
