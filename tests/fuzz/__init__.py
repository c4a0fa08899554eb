"""Files made to harm whoever reads them: each is read in a process with little memory and little time.

``python tests/fuzz --count 20000`` tries many; the tests try a few.
"""
