"""Many runs from one command: which there are, where they go, and what became of each."""
