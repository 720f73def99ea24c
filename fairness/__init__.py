"""What `scripts/fairness` measures: a mesh that is asked for more than it can do. See fairness/README.md."""
