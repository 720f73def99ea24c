"""gRPC as nnpm speaks it: one way to open a channel, one to run a server, one to map an error."""
