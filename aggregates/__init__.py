"""The pure core: what the report means, computed from values alone, without clock, environment, logging or I/O."""
