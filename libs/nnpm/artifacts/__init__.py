"""Reading the artifact service's files: what the client and the workers share."""
