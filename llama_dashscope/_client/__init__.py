"""One call from its arguments to its answer: client, streams, retries and the sync bridge."""
