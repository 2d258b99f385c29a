"""What several benchmarks share; it measures nothing itself."""
