"""One module a contestant: how it is installed, configured and started, and what its own statistics say."""
