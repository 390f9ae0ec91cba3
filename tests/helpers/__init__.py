"""Problems, devices and reference solutions that tests and benchmarks share."""
