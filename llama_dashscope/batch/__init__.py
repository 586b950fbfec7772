"""Many calls at once: a runner that loses no answer, and a journal to go on from."""
