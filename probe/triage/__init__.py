"""Triage: verdicts on the conformers of a library, and what is told from them."""
