"""The data path: from a client's call to a worker's reply. README.md tells how a request travels."""
