"""The one place that talks to the registry's database: functions that take a connection and answer plain data.

schema      the tables
rows        between rows and records
namespaces, packages, versions, drafts, tags, events      one table each, and what must change with it
"""
