"""The deterministic engine: no I/O, no wall clock, no asyncio, no pandas, no unseeded chance."""
