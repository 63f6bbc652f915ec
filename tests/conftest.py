"""Settings of every test: Hypothesis has no deadline of its own, because a busy machine must not make a test fail."""

from hypothesis import HealthCheck, settings

settings.register_profile("ovenbird", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ovenbird")
