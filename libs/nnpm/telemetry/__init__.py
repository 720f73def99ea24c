"""Logs, traces and metrics: one module each, configured once by a process's composition root."""
