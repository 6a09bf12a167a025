"""The report over HTTP: the JSON API, the page that reads it, and who may read which account.

`streams.http` puts the parts together. Nothing here reads anything but published snapshots.
"""
