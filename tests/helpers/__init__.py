"""Problems, devices and reference solutions that tests and benchmarks share."""

from helpers.typed import check as check
