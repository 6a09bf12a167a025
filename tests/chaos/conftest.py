"""The servers of the integration tests, for the faults that need no campaign."""

from tests.integration.conftest import kafka, namespace, redis_server

__all__ = ["kafka", "namespace", "redis_server"]
