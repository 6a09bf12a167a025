"""What all tests share."""

from hypothesis import HealthCheck, settings

# Two slow cores shared with a Kafka make single examples slow now and then: time is no criterion here. A failing
# example is printed with what it takes to repeat it.
settings.register_profile(
    "mediana", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("mediana")
