"""How Hypothesis draws: anew each time, or with `--hypothesis-profile=fixed` (tests/run.sh) the same cases every time.

There are no deadlines: first calls compile, and machines are shared.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("drawn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fixed", settings.get_profile("drawn"), derandomize=True)
settings.load_profile("drawn")
