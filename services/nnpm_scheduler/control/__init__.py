"""The control path: deployments are desired state, workers report observed state, the reconciler joins the two."""
