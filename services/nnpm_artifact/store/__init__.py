"""The index in SQL: the one place that talks to the service's database.

`nnpm.sql.database.Database` runs functions on a connection, off the event loop; these modules are those functions, one
module for each thing that is remembered. They take what they need and answer plain data: no SQL leaves this folder.
"""
