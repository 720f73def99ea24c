"""The scheduler: the inference front door (`dispatch`), and what is deployed where (`control`)."""
