"""The fault campaign: kills, starves and corrupts at random moments, and looks from outside at what is left.

``python tests/faults --count 1000 --jobs 2`` in the repository's directory; ``--help`` says more.
"""
