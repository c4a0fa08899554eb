"""Measuring functions and blocks from within the program that runs them: what the command line is for programs."""
