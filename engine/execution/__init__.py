"""Execution: a bound graph made ready and run, in one plan or in stages, and kept by its shapes."""
